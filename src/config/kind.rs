//! The kinds of settings: what a value must be, and how it becomes a typed value.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::ConfigError;
use super::secret::SecretSource;
use super::written::Written;

/// What a value must be. Errors and the reference say it in the same words.
pub(super) trait Describe: Sync {
    /// What completes the sentence "the value must be …".
    fn expected(&self) -> String;

    /// Whether the value may never be shown, and may be read from a file that a variable names.
    fn is_secret(&self) -> bool {
        false
    }
}

/// A kind of setting, whose values have the type `Value`.
pub(super) trait Kind: Describe {
    /// The type of the values.
    type Value;

    /// The typed value. An error names the place and what was expected.
    fn read(&self, written: &Written) -> Result<Self::Value, ConfigError>;
}

/// A whole number of something, within a range.
pub(super) struct Whole(pub(super) &'static str, pub(super) RangeInclusive<usize>);

/// A number of bytes, within a range.
pub(super) struct Size(pub(super) RangeInclusive<usize>);

/// A time in whole seconds.
pub(super) struct Seconds(pub(super) RangeInclusive<usize>);

/// A time in whole milliseconds.
pub(super) struct Milliseconds(pub(super) RangeInclusive<usize>);

/// `true` or `false`.
pub(super) struct Boolean;

/// One of a few words, each with its meaning.
pub(super) struct OneOf<T: 'static>(pub(super) &'static [(&'static str, T)]);

/// A text of some form: what it must be, and what it means where it has that form.
pub(super) struct Text<T>(pub(super) &'static str, pub(super) fn(&str) -> Option<T>);

/// One text of some form, or an array of them.
pub(super) struct Texts<T>(pub(super) &'static str, pub(super) fn(&str) -> Option<T>);

/// A text that may never be shown: what it holds.
pub(super) struct SecretText(pub(super) &'static str);

impl Describe for Whole {
    fn expected(&self) -> String {
        let Self(unit, range) = self;
        format!("a whole number of {unit} from {} to {}", range.start(), range.end())
    }
}

impl Kind for Whole {
    type Value = usize;

    fn read(&self, written: &Written) -> Result<usize, ConfigError> {
        let number = written.whole(|text| text.parse().ok()).filter(|number| self.1.contains(number));
        number.ok_or_else(|| written.not(self.expected()))
    }
}

impl Describe for Size {
    fn expected(&self) -> String {
        let (least, most) = (shown_size(*self.0.start()), shown_size(*self.0.end()));
        format!("a number of bytes or a size like `8 MiB`, from {least} to {most}")
    }
}

impl Kind for Size {
    type Value = usize;

    fn read(&self, written: &Written) -> Result<usize, ConfigError> {
        let bytes = written.whole(size).filter(|bytes| self.0.contains(bytes));
        bytes.ok_or_else(|| written.not(self.expected()))
    }
}

impl Describe for Seconds {
    fn expected(&self) -> String {
        Whole("seconds", self.0.clone()).expected()
    }
}

impl Kind for Seconds {
    type Value = Duration;

    fn read(&self, written: &Written) -> Result<Duration, ConfigError> {
        Whole("seconds", self.0.clone()).read(written).map(|seconds| Duration::from_secs(seconds as u64))
    }
}

impl Describe for Milliseconds {
    fn expected(&self) -> String {
        Whole("milliseconds", self.0.clone()).expected()
    }
}

impl Kind for Milliseconds {
    type Value = Duration;

    fn read(&self, written: &Written) -> Result<Duration, ConfigError> {
        Whole("milliseconds", self.0.clone()).read(written).map(|number| Duration::from_millis(number as u64))
    }
}

impl Describe for Boolean {
    fn expected(&self) -> String {
        "`true` or `false`".into()
    }
}

impl Kind for Boolean {
    type Value = bool;

    fn read(&self, written: &Written) -> Result<bool, ConfigError> {
        written.boolean().ok_or_else(|| written.not(self.expected()))
    }
}

impl<T: Sync> Describe for OneOf<T> {
    fn expected(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("`{word}`")).collect();
        words.join(" or ")
    }
}

impl<T: Clone + Sync> Kind for OneOf<T> {
    type Value = T;

    fn read(&self, written: &Written) -> Result<T, ConfigError> {
        let text = written.text()?;
        let meant = self.0.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
        meant.ok_or_else(|| written.not(self.expected()))
    }
}

impl<T> Describe for Text<T> {
    fn expected(&self) -> String {
        self.0.into()
    }
}

impl<T> Kind for Text<T> {
    type Value = T;

    fn read(&self, written: &Written) -> Result<T, ConfigError> {
        (self.1)(written.text()?).ok_or_else(|| written.not(self.0))
    }
}

impl<T> Describe for Texts<T> {
    fn expected(&self) -> String {
        format!("{}, or an array of them", self.0)
    }
}

impl<T> Kind for Texts<T> {
    type Value = Vec<T>;

    fn read(&self, written: &Written) -> Result<Vec<T>, ConfigError> {
        let read = written.texts()?.into_iter().map(self.1).collect::<Option<_>>();
        read.ok_or_else(|| written.not(self.expected()))
    }
}

impl Describe for SecretText {
    fn expected(&self) -> String {
        self.0.into()
    }

    fn is_secret(&self) -> bool {
        true
    }
}

impl Kind for SecretText {
    type Value = SecretSource;

    fn read(&self, written: &Written) -> Result<SecretSource, ConfigError> {
        written.secret()
    }
}

/// The units of a size, the largest binary one first.
const UNITS: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// The bytes of `8388608`, `8 MiB`, `8MiB` or `8 MB`.
fn size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// A size in the largest binary unit that leaves no remainder.
fn shown_size(bytes: usize) -> String {
    let fits =
        |(name, factor): &(&str, usize)| name.ends_with("iB") && bytes >= *factor && bytes.is_multiple_of(*factor);
    let unit = UNITS.iter().find(|unit| fits(unit));
    unit.map_or_else(|| format!("{bytes} bytes"), |(name, factor)| format!("{} {name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_a_number_with_a_unit() {
        let read = ["0", "8388608", "8 MiB", "8MiB", "8 mib", "512 KiB", "2 GB", "12 B"].map(size);
        let bytes = [0, 8_388_608, 8_388_608, 8_388_608, 8_388_608, 524_288, 2_000_000_000, 12];
        assert_eq!(read, bytes.map(Some));
    }

    #[test]
    fn half_sizes_and_bare_letters_are_not_sizes() {
        assert_eq!(["8 M", "", "MiB", "1.5 MiB", "-1", "8 MiB ", "99999999999 GiB"].map(size), [None; 7]);
    }

    #[test]
    fn a_size_is_shown_in_its_largest_unit() {
        assert_eq!([1 << 10, 64 << 30, 1025, 0].map(shown_size), ["1 KiB", "64 GiB", "1025 bytes", "0 bytes"]);
    }

    #[test]
    fn an_error_names_the_expected_value_and_the_found_one() {
        let lanes = Whole("lanes", 1..=64);
        for (text, found) in [("65", "`65`"), ("-1", "`-1`"), ("2.0", "`2.0`"), ("٣", "`٣`"), (" 2", "` 2`")] {
            let error =
                lanes.read(&Written::text_at("READCAST_LANES", "projector.lanes", text)).unwrap_err().to_string();
            let expected = "READCAST_LANES: `projector.lanes` must be a whole number of lanes from 1 to 64, found ";
            assert_eq!(error, format!("{expected}{found}"));
        }
    }
}
