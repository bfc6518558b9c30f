//! Amounts of log in questions such as `/replica?lag=10MB`.

/// Bytes of an amount such as `4096`, `10MB` or `16kB`, as PostgreSQL counts
/// them: 1 kB are 1024 bytes.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("4096"), Some(4096));
        assert_eq!(parse("16kB"), Some(16 * 1024));
        assert_eq!(parse("10 MB"), Some(10 * 1024 * 1024));
        assert_eq!(parse("1GB"), Some(1 << 30));
        for wrong in [
            "",
            "MB",
            "-1",
            "1.5MB",
            "10XB",
            "99999999999999999999",
            "999999999TB",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
