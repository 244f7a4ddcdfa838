//! Values that were written with one schema, in the encoding of another one.
//!
//! Source: the Avro specification, "Schema Resolution",
//! <https://avro.apache.org/docs/1.12.0/specification/#schema-resolution>.

mod compiler;

use apache_avro::Schema;

use self::compiler::Compiler;

/// How deep values may be nested.
const MAX_DEPTH: u8 = 64;
/// How many items without any bytes a value may have in its arrays, such as nulls. A few bytes could announce any number.
const MOST_EMPTY_ITEMS: usize = 1 << 16;

/// How values of the writer's schema become values of the reader's. Made once for two schemas.
#[derive(Debug)]
pub(super) struct Resolution {
    steps: Vec<Step>,
    root: usize,
}

/// What happens to a value. The numbers are places of other steps, since schemas may hold themselves.
#[derive(Debug)]
enum Step {
    /// Both encodings are the same.
    Copy(Plain),
    Number {
        from: Plain,
        to: Plain,
    },
    /// The fields of the writer in its order, and where those of the reader come from.
    Record(Vec<usize>, Vec<Source>),
    /// By the writer's places of symbols, those of the reader.
    Enum(Vec<Result<i64, String>>),
    Array(usize),
    Map(usize),
    /// By the variants of the writer's union.
    EitherOf(Vec<usize>),
    /// The value becomes this variant of the reader's union.
    Variant(i64, usize),
    /// Such a value can't be read, but others of the same schema can.
    Refusal(String),
}

/// The encodings without parts.
#[derive(Clone, Copy, Debug)]
enum Plain {
    Fixed(usize),
    Whole,
    Float,
    Double,
    /// Bytes or a text behind their length.
    Counted,
}

/// Where a field of the reader comes from.
#[derive(Clone, Debug)]
enum Source {
    /// The field of the writer with this place.
    Writer(usize),
    /// The encoded default.
    Default(Vec<u8>),
}

impl Resolution {
    /// # Errors
    /// When no value of the writer's schema can be one of the reader's. The message says where they differ.
    pub(super) fn new(writer: &[Schema], reader: &Schema) -> Result<Self, String> {
        let (steps, root) = Compiler::steps(writer, reader)?;
        Ok(Self { steps, root })
    }

    /// Which values of the writer's schema the reader's has no place for, each once.
    pub(super) fn refusals(&self) -> Vec<&str> {
        let (mut places, mut at) = (vec![self.root], 0);
        while let Some(place) = places.get(at) {
            let parts = self.steps[*place].parts();
            at += 1;
            parts.into_iter().for_each(|part| {
                if !places.contains(&part) {
                    places.push(part)
                }
            });
        }
        places.into_iter().flat_map(|place| self.steps[place].refusals()).collect()
    }

    /// The value in `bytes` in the encoding of the reader's schema.
    ///
    /// # Errors
    /// When the bytes are not one value of the writer's schema, or the reader's schema has no such value.
    pub(super) fn rewrite(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (mut input, mut output) = (Input { rest: bytes, empty_items: 0 }, Vec::with_capacity(bytes.len() + 16));
        self.run(self.root, &mut input, &mut output, 0)?;
        if input.rest.is_empty() { Ok(output) } else { Err("bytes follow the value".to_owned()) }
    }

    fn run(&self, step: usize, input: &mut Input<'_>, output: &mut Vec<u8>, depth: u8) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("the value is nested more than {MAX_DEPTH} deep"));
        }
        let depth = depth + 1;
        match &self.steps[step] {
            Step::Copy(plain) => input.take_plain(*plain).map(|bytes| output.extend_from_slice(bytes)),
            Step::Number { from, to } => convert(*from, *to, input, output),
            Step::Record(fields, sources) => self.record(fields, sources, input, output, depth),
            Step::Enum(symbols) => {
                let place = usize::try_from(input.take_long()?).ok();
                let symbol = place.and_then(|place| symbols.get(place)).ok_or("the enum has no such symbol")?;
                put_long(symbol.clone()?, output);
                Ok(())
            }
            Step::Array(item) => blocks(input, output, |input, output| self.run(*item, input, output, depth)),
            Step::Map(value) => blocks(input, output, |input, output| {
                output.extend_from_slice(input.take_plain(Plain::Counted)?);
                self.run(*value, input, output, depth)
            }),
            Step::EitherOf(variants) => {
                let variant = usize::try_from(input.take_long()?).ok();
                let step = variant.and_then(|variant| variants.get(variant)).ok_or("the union has no such variant")?;
                self.run(*step, input, output, depth)
            }
            Step::Variant(variant, step) => {
                put_long(*variant, output);
                self.run(*step, input, output, depth)
            }
            Step::Refusal(reason) => Err(reason.clone()),
        }
    }

    fn record(
        &self,
        fields: &[usize],
        sources: &[Source],
        input: &mut Input<'_>,
        output: &mut Vec<u8>,
        depth: u8,
    ) -> Result<(), String> {
        // In the writer's order, with the places where each begins and ends; then in the reader's.
        let (mut values, mut ends) = (Vec::new(), Vec::with_capacity(fields.len()));
        for field in fields {
            let begin = values.len();
            self.run(*field, input, &mut values, depth)?;
            ends.push((begin, values.len()));
        }
        for source in sources {
            match source {
                Source::Writer(field) => output.extend_from_slice(&values[ends[*field].0..ends[*field].1]),
                Source::Default(bytes) => output.extend_from_slice(bytes),
            }
        }
        Ok(())
    }
}

/// The blocks of an array or a map, without the sizes in bytes that a writer may give.
fn blocks<'b>(
    input: &mut Input<'b>,
    output: &mut Vec<u8>,
    mut item: impl FnMut(&mut Input<'b>, &mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    loop {
        let mut count = input.take_long()?;
        if count < 0 {
            input.take_long()?;
            count = count.checked_neg().ok_or("a block has no number of items")?;
        }
        put_long(count, output);
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            let left = input.rest.len();
            item(input, output)?;
            input.empty_items += usize::from(left == input.rest.len());
            if input.empty_items > MOST_EMPTY_ITEMS {
                return Err(format!("it has more than {MOST_EMPTY_ITEMS} items without any bytes"));
            }
        }
    }
}

impl Step {
    /// Why it refuses values, by itself.
    fn refusals(&self) -> Vec<&str> {
        match self {
            Self::Refusal(reason) => vec![reason],
            Self::Enum(symbols) => {
                symbols.iter().filter_map(|symbol| symbol.as_ref().err().map(String::as_str)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The steps of the value's parts.
    fn parts(&self) -> Vec<usize> {
        match self {
            Self::Record(parts, _) | Self::EitherOf(parts) => parts.clone(),
            Self::Array(part) | Self::Map(part) | Self::Variant(_, part) => vec![*part],
            Self::Copy(_) | Self::Number { .. } | Self::Enum(_) | Self::Refusal(_) => Vec::new(),
        }
    }
}

fn convert(from: Plain, to: Plain, input: &mut Input<'_>, output: &mut Vec<u8>) -> Result<(), String> {
    let double = match from {
        Plain::Float => f64::from(f32::from_le_bytes(input.take_array()?)),
        _ => {
            let whole = input.take_long()?;
            if matches!(to, Plain::Float) {
                output.extend_from_slice(&(whole as f32).to_le_bytes());
                return Ok(());
            }
            whole as f64
        }
    };
    output.extend_from_slice(&double.to_le_bytes());
    Ok(())
}

/// What is left of the value.
struct Input<'b> {
    rest: &'b [u8],
    empty_items: usize,
}

impl<'b> Input<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("the value ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "the value ends too early".to_owned())
    }

    /// A zigzag number of a variable length.
    fn take_long(&mut self) -> Result<i64, String> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.take_array::<1>()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte < 0x80 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err("a number has more than ten bytes".to_owned())
    }

    fn take_plain(&mut self, plain: Plain) -> Result<&'b [u8], String> {
        let begin = self.rest;
        match plain {
            Plain::Fixed(size) => self.take(size)?,
            Plain::Float => self.take(4)?,
            Plain::Double => self.take(8)?,
            Plain::Whole => {
                self.take_long()?;
                &[]
            }
            Plain::Counted => {
                let length = usize::try_from(self.take_long()?).map_err(|_| "a length is negative")?;
                self.take(length)?
            }
        };
        Ok(&begin[..begin.len() - self.rest.len()])
    }
}

/// Appends a number as a zigzag number of a variable length.
pub(super) fn put_long(number: i64, output: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        output.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}
