//! How the log writes the names of files: relative to the table and percent-encoded.

use std::path::{Component, Path};

/// Encodes the name of a file below the table, as others do: `l0/a b.parquet` becomes `l0/a%20b.parquet`. Names of our own
/// files hold nothing to encode.
#[cfg(test)]
pub(crate) fn encode(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for &byte in name.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            byte => {
                path.push('%');
                path.extend([byte >> 4, byte & 15].map(hex_digit));
            }
        }
    }
    path
}

/// Decodes a path of the log. `None` where it is not one of a file below the table: an absolute path, a URL, a path
/// through `..`, a broken escape. So a damaged or hostile log leads nobody out of the lake.
pub(crate) fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    is_below(&name).then_some(name)
}

/// Whether `name` is a file below the folder that it is joined to, spelled in the one way in which we spell it.
fn is_below(name: &str) -> bool {
    let has_scheme = name.split('/').next().is_some_and(|first| first.contains(':'));
    !has_scheme
        && !name.contains('\0')
        && name.split('/').all(|part| {
            let mut components = Path::new(part).components();
            matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        })
}

#[cfg(test)]
fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).map_or('0', |digit| digit.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_below_the_table_comes_back_from_its_path(name in "[^/\0:]{1,9}/\\PC{1,9}") {
            prop_assert_eq!(decode(&encode(&name)), is_below(&name).then_some(name));
        }

        #[test]
        fn what_decodes_stays_below_the_table(path in "[./%2eEfF:a]{0,12}") {
            if let Some(name) = decode(&path) {
                prop_assert!(Path::new("t").join(&name).starts_with("t"), "{name}");
                prop_assert!(!name.split('/').any(|part| part == ".."), "{name}");
            }
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        assert_eq!(decode("l0/a%20b%C3%A9.parquet").as_deref(), Some("l0/a bé.parquet"));
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "l0/%2E%2E/x",
            "l0//x",
            "l0/",
            "s3://b/x",
            "file:/x",
            "l0/%zz",
            "l0/%4",
            "l0/%FF",
            "l0/a%00b",
            ".",
        ] {
            assert_eq!(decode(path), None, "{path}");
        }
    }
}
