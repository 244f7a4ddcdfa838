//! Reads Protobuf's text format without a schema.

/// A value of a field.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Message(Message),
    /// What stands in quotes, without its escapes.
    Quoted(Vec<u8>),
    /// A number, a boolean or a name.
    Word(String),
}

/// The fields of a message in their order. A repeated field is there once for each of its values.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<(String, Value)>);

impl Message {
    /// The fields with their names.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The messages of this field.
    pub(super) fn messages<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m Message> {
        self.fields().filter(move |(other, _)| *other == name).map(|(_, value)| value.message())
    }

    /// The text of this field, empty if it is not there.
    pub(super) fn text(&self, name: &str) -> String {
        self.fields().find(|(other, _)| *other == name).map(|(_, value)| value.text()).unwrap_or_default()
    }

    /// Whether it has this field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields().any(|(other, _)| other == name)
    }
}

impl Value {
    pub(super) fn message(&self) -> &Message {
        match self {
            Self::Message(message) => message,
            other => panic!("{other:?} is no message"),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Message(message) => panic!("{message:?} is no text"),
            Self::Quoted(bytes) => bytes,
            Self::Word(word) => word.as_bytes(),
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8")
    }
}

/// The message that a file is.
pub(super) fn parse(text: &str) -> Message {
    let mut reader = Reader { rest: text.as_bytes() };
    let message = reader.message();
    assert!(reader.peek().is_none(), "a bracket is closed that was not opened");
    message
}

struct Reader<'t> {
    rest: &'t [u8],
}

impl Reader<'_> {
    /// The next byte that is neither white space nor a part of a comment.
    fn peek(&mut self) -> Option<u8> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match self.rest.first() {
                Some(b'#') => drop(self.take(|byte| byte != b'\n')),
                next => return next.copied(),
            }
        }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.rest = &self.rest[usize::from(is_next)..];
        is_next
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> String {
        let length = self.rest.iter().position(|byte| !belongs(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        String::from_utf8(taken.to_vec()).expect("UTF-8")
    }

    fn word(&mut self) -> String {
        self.take(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte))
    }

    /// The fields up to the bracket that closes the message.
    fn message(&mut self) -> Message {
        let mut fields = Vec::new();
        while let Some(next) = self.peek().filter(|next| !b"}>".contains(next)) {
            let name = if next == b'[' { self.take(|byte| byte != b']').split_off(1) } else { self.word() };
            self.skip(b']');
            self.skip(b':');
            if self.skip(b'[') {
                while !self.skip(b']') {
                    fields.push((name.clone(), self.value()));
                    self.skip(b',');
                }
            } else {
                fields.push((name, self.value()));
            }
            let _ = self.skip(b',') || self.skip(b';');
        }
        Message(fields)
    }

    fn value(&mut self) -> Value {
        match self.peek() {
            Some(open @ (b'{' | b'<')) => {
                self.skip(open);
                let message = self.message();
                assert!(self.skip(if open == b'{' { b'}' } else { b'>' }), "a message is not closed");
                Value::Message(message)
            }
            Some(b'"' | b'\'') => {
                let mut bytes = Vec::new();
                while let Some(quote) = self.peek().filter(|next| b"\"'".contains(next)) {
                    self.skip(quote);
                    self.quoted(quote, &mut bytes);
                }
                Value::Quoted(bytes)
            }
            _ => Value::Word(self.word()),
        }
    }

    /// Adds what stands before the closing quote.
    fn quoted(&mut self, quote: u8, bytes: &mut Vec<u8>) {
        loop {
            match self.next() {
                byte if byte == quote => return,
                b'\\' => self.escape(bytes),
                byte => bytes.push(byte),
            }
        }
    }

    fn next(&mut self) -> u8 {
        let (next, rest) = self.rest.split_first().expect("more text");
        self.rest = rest;
        *next
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) {
        match self.next() {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'a' => bytes.push(7),
            b'b' => bytes.push(8),
            b'v' => bytes.push(11),
            b'f' => bytes.push(12),
            digit @ b'0'..=b'7' => {
                let more = self.rest.iter().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let code = u32::from(digit - b'0') * 8_u32.pow(more as u32);
                bytes.push((code + self.code(more, 8)) as u8);
            }
            b'x' | b'X' => {
                let length = self.rest.iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
                bytes.push(self.code(length, 16) as u8);
            }
            letter @ (b'u' | b'U') => {
                let code = self.code(if letter == b'u' { 4 } else { 8 }, 16);
                let character = char::from_u32(code).expect("a character");
                bytes.extend(character.to_string().as_bytes());
            }
            other => bytes.push(other),
        }
    }

    /// The number in the next digits.
    fn code(&mut self, length: usize, radix: u32) -> u32 {
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.iter().fold(0, |code, digit| code * radix + char::from(*digit).to_digit(radix).expect("a digit"))
    }
}
