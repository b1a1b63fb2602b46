//! The options of a message: one walk over up to three fields, indexed by code.
//!
//! ```text
//!  options (byte 240 to the end) ─► file (108..236) ─► sname (44..108)
//!                                   if option 52 is 1 or 3   if it is 2 or 3
//!
//!  +------+-----+----------+
//!  | code | len | value    |   pad (0) and end (255) are a code alone; end closes its field
//!  +------+-----+----------+
//! ```
//!
//! RFC 2131 §4.1 and RFC 3396 §5 for the order of fields, RFC 2132 §2 for the form, RFC 3396 §7 for an option
//! that appears several times: its value is the parts joined in that order.
//!
//! Invariants: an option that runs past its field is an error, never an early end; values stay bytes, so no
//! content ends the walk; the number of options is bounded; an option in one part is a slice of the message.
//!
//! It does not read values, apart from the sizes checked while walking.

use super::WireError;
use super::code;
use crate::limits::DHCP4_OPTIONS_MAX;

/// First byte of the options field.
const OPTIONS_AT: usize = 240;
/// Bytes of `file` in the message.
const FILE: (usize, usize) = (108, 236);
/// Bytes of `sname` in the message.
const SNAME: (usize, usize) = (44, 108);

/// A set of option codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSet([u64; 4]);

impl OptionSet {
    /// The set without codes.
    pub const EMPTY: Self = Self([0; 4]);

    const fn bit(code: u8) -> u64 {
        1 << (code & 63)
    }

    /// Whether `code` is in the set.
    pub fn contains(&self, code: u8) -> bool {
        self.0.get(usize::from(code >> 6)).is_some_and(|word| word & Self::bit(code) != 0)
    }

    /// Adds `code`; false when it was in already.
    pub fn insert(&mut self, code: u8) -> bool {
        let Some(word) = self.0.get_mut(usize::from(code >> 6)) else {
            return false;
        };
        let fresh = *word & Self::bit(code) == 0;
        *word |= Self::bit(code);
        fresh
    }

    /// Whether no code is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The codes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|code| self.contains(*code))
    }
}

/// Position in the options of a message.
#[derive(Clone, Copy, Debug)]
struct Walk<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
    /// `file` when bit 0 is set, `sname` when bit 1 is: fields still to be walked (RFC 2132 §9.3).
    overload: u8,
    /// Whether the options field is done: only there does option 52 count.
    overloaded: bool,
}

impl<'a> Walk<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { message, at: OPTIONS_AT, end: message.len(), overload: 0, overloaded: false }
    }

    /// The next option, or none at the end of the last field.
    fn step(&mut self) -> Result<Option<(u8, &'a [u8])>, WireError> {
        loop {
            let field = self.message.get(self.at..self.end).unwrap_or_default();
            match *field {
                [] | [code::END, ..] => {
                    if !self.next_field() {
                        return Ok(None);
                    }
                }
                [code::PAD, ..] => self.at = self.at.saturating_add(1),
                [code] => return Err(WireError::OptionTruncated { code }),
                [code, len, ref rest @ ..] => {
                    let Some(value) = rest.get(..usize::from(len)) else {
                        return Err(WireError::OptionTruncated { code });
                    };
                    self.at = self.at.saturating_add(2).saturating_add(value.len());
                    if code == code::OVERLOAD {
                        self.overload(value)?;
                    }
                    return Ok(Some((code, value)));
                }
            }
        }
    }

    fn next_field(&mut self) -> bool {
        self.overloaded = true;
        let (at, end) = if self.overload & 1 != 0 {
            self.overload &= !1;
            FILE
        } else if self.overload & 2 != 0 {
            self.overload &= !2;
            SNAME
        } else {
            self.at = self.end;
            return false;
        };
        (self.at, self.end) = (at, end);
        true
    }

    fn overload(&mut self, value: &[u8]) -> Result<(), WireError> {
        match *value {
            [_] if self.overloaded => Ok(()),
            [fields @ 1..=3] => {
                self.overload = fields;
                Ok(())
            }
            [value] => Err(WireError::BadOverload { value }),
            _ => Err(WireError::OptionLength { code: code::OVERLOAD, len: value.len() as u8 }),
        }
    }
}

/// Size of the options that have one and on which a decision rests; none for the others.
const fn size_of_option(code: u8) -> Option<usize> {
    match code {
        code::ADDRESS_REQUEST | code::ADDRESS_TIME | code::DHCP_SERVER_ID | code::SUBNET_SELECTION => Some(4),
        code::OVERLOAD | code::DHCP_MSG_TYPE => Some(1),
        code::DHCP_MAX_MSG_SIZE => Some(2),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Where the value starts in the message.
    at: u16,
    code: u8,
    len: u8,
}

/// The options of one message, indexed.
#[derive(Clone, Debug)]
pub(super) struct Options<'a> {
    message: &'a [u8],
    present: OptionSet,
    repeated: OptionSet,
    entries: [Entry; DHCP4_OPTIONS_MAX],
    count: usize,
}

impl<'a> Options<'a> {
    /// Walks all options of `message`, whose length the header has checked.
    pub(super) fn index(message: &'a [u8]) -> Result<Self, WireError> {
        let mut options = Self {
            message,
            present: OptionSet::EMPTY,
            repeated: OptionSet::EMPTY,
            entries: [Entry::default(); DHCP4_OPTIONS_MAX],
            count: 0,
        };
        let mut walk = Walk::new(message);
        while let Some((code, value)) = walk.step()? {
            let len = value.len() as u8;
            if !options.present.insert(code) {
                options.repeated.insert(code);
            }
            if let Some(size) = size_of_option(code) {
                if options.repeated.contains(code) {
                    return Err(WireError::OptionRepeated { code });
                }
                if size != value.len() {
                    return Err(WireError::OptionLength { code, len });
                }
            }
            let Some(entry) = options.entries.get_mut(options.count) else {
                return Err(WireError::TooManyOptions);
            };
            *entry = Entry { at: walk.at.saturating_sub(value.len()) as u16, code, len };
            options.count = options.count.saturating_add(1);
        }
        Ok(options)
    }

    fn entries(&self) -> &[Entry] {
        self.entries.get(..self.count).unwrap_or_default()
    }

    fn value(&self, entry: Entry) -> &'a [u8] {
        let at = usize::from(entry.at);
        self.message.get(at..at.saturating_add(usize::from(entry.len))).unwrap_or_default()
    }

    /// The options as they stand, parts of a split option apart.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        self.entries().iter().map(|entry| (entry.code, self.value(*entry)))
    }

    pub(super) fn codes(&self) -> OptionSet {
        self.present
    }

    pub(super) fn find(&self, code: u8) -> Option<OptionBytes<'a>> {
        if !self.present.contains(code) {
            return None;
        }
        let mut same = self.entries().iter().filter(|entry| entry.code == code);
        let first = *same.next()?;
        let mut bytes = OptionBytes::from(self.value(first));
        if self.repeated.contains(code) {
            bytes.len = same.fold(bytes.len, |sum, entry| sum.saturating_add(u16::from(entry.len)));
            bytes.whole = Some((code, self.message));
        }
        Some(bytes)
    }

    /// The value of an option that [`size_of_option`] has checked to be `N` bytes.
    pub(super) fn array<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.find(code)?.first.try_into().ok()
    }
}

/// The value of an option: one slice of the message or, rarely, several parts that make one value (RFC 3396).
#[derive(Clone, Copy, Debug)]
pub struct OptionBytes<'a> {
    first: &'a [u8],
    /// Of all parts together.
    len: u16,
    /// Code and message to walk again, when there are several parts.
    whole: Option<(u8, &'a [u8])>,
}

impl<'a> From<&'a [u8]> for OptionBytes<'a> {
    /// One part; of a slice longer than any message, what a message can hold.
    fn from(value: &'a [u8]) -> Self {
        let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
        Self { first: value, len: value.len() as u16, whole: None }
    }
}

impl<'a> OptionBytes<'a> {
    /// Bytes of all parts together.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value, when it arrived in one part.
    pub fn as_slice(&self) -> Option<&'a [u8]> {
        self.whole.is_none().then_some(self.first)
    }

    /// The parts, in the order in which they are joined.
    pub fn parts(&self) -> Parts<'a> {
        match self.whole {
            None => Parts(PartsOf::One(Some(self.first))),
            Some((code, message)) => Parts(PartsOf::Many(code, Walk::new(message))),
        }
    }

    /// The bytes of all parts.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + 'a {
        self.parts().flatten().copied()
    }

    /// The value as one slice: of the message when it arrived so, else joined in `scratch`.
    ///
    /// A `scratch` of [`crate::limits::DHCP4_MESSAGE_BYTES_MAX`] bytes is always enough.
    pub fn joined<'b>(&self, scratch: &'b mut [u8]) -> Result<&'b [u8], WireError>
    where
        'a: 'b,
    {
        if self.whole.is_none() {
            return Ok(self.first);
        }
        let room = scratch.len();
        let Some(joined) = scratch.get_mut(..self.len()) else {
            return Err(WireError::JoinedTooLong { len: self.len(), room });
        };
        for (to, from) in joined.iter_mut().zip(self.bytes()) {
            *to = from;
        }
        Ok(joined)
    }
}

impl PartialEq for OptionBytes<'_> {
    /// Equal values are equal however they were split.
    fn eq(&self, other: &Self) -> bool {
        match (self.as_slice(), other.as_slice()) {
            (Some(left), Some(right)) => left == right,
            _ => self.len == other.len && self.bytes().eq(other.bytes()),
        }
    }
}

impl Eq for OptionBytes<'_> {}

/// Parts of an option, see [`OptionBytes::parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a>(PartsOf<'a>);

#[derive(Clone, Debug)]
enum PartsOf<'a> {
    One(Option<&'a [u8]>),
    Many(u8, Walk<'a>),
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.0 {
            PartsOf::One(part) => part.take(),
            // The message was walked without an error when it was indexed.
            PartsOf::Many(code, walk) => loop {
                match walk.step() {
                    Ok(Some((found, value))) if found == *code => return Some(value),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; OPTIONS_AT];
        message.extend_from_slice(options);
        message
    }

    #[test]
    fn parts_that_are_not_adjacent_make_one_value_in_order() {
        let bytes = message(&[12, 2, b'a', b'b', 60, 1, b'v', 12, 1, b'c', 255]);
        let options = Options::index(&bytes).unwrap();
        let host = options.find(12).unwrap();
        assert_eq!((host.as_slice(), host.len()), (None, 3));
        assert_eq!(host.parts().collect::<Vec<_>>(), [&b"ab"[..], b"c"]);
        assert_eq!(host.joined(&mut [0; 8]).unwrap(), b"abc");
        assert_eq!(host, OptionBytes::from(&b"abc"[..]));
        assert_eq!(host.joined(&mut [0; 2]), Err(WireError::JoinedTooLong { len: 3, room: 2 }));
    }

    #[test]
    fn overloaded_fields_follow_the_options_file_first() {
        let mut bytes = message(&[12, 1, b'1', 52, 1, 3, 255, 12, 1, b'x']);
        bytes[108..112].copy_from_slice(&[12, 1, b'2', 255]);
        bytes[44..47].copy_from_slice(&[12, 1, b'3']);
        let options = Options::index(&bytes).unwrap();
        assert_eq!(options.find(12).unwrap().joined(&mut [0; 8]).unwrap(), b"123");
    }

    #[test]
    fn file_and_sname_are_not_read_without_overload() {
        let mut bytes = message(&[53, 1, 1, 255]);
        bytes[108..110].copy_from_slice(&[12, 200]);
        assert!(Options::index(&bytes).unwrap().find(12).is_none());
    }

    #[test]
    fn an_option_past_its_field_is_an_error_in_every_field() {
        for options in [&[12, 1][..], &[12, 2, 0], &[82]] {
            let code = options[0];
            let error = Options::index(&message(options)).unwrap_err();
            assert_eq!(error, WireError::OptionTruncated { code });
        }
        let mut bytes = message(&[52, 1, 1, 255]);
        bytes[108] = 12;
        bytes[109] = 127;
        assert_eq!(Options::index(&bytes).unwrap_err(), WireError::OptionTruncated { code: 12 });
    }

    #[test]
    fn the_number_of_options_is_bounded() {
        let many = [80, 0].repeat(DHCP4_OPTIONS_MAX);
        assert!(Options::index(&message(&many)).is_ok());
        let more = [80, 0].repeat(DHCP4_OPTIONS_MAX + 1);
        assert_eq!(Options::index(&message(&more)).unwrap_err(), WireError::TooManyOptions);
    }

    #[test]
    fn a_set_holds_each_of_the_256_codes() {
        let mut set = OptionSet::EMPTY;
        for code in 0..=255 {
            assert!(!set.contains(code) && set.insert(code) && !set.insert(code));
        }
        assert_eq!(set.iter().count(), 256);
    }
}
