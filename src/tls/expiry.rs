//! Expiry: from when until when a certificate is valid (RFC 5280 §4.1.2.5), for a warning.
//!
//! Lives here: just enough of DER (X.690) to find two dates. Not here: any decision about trust, which rustls takes.

/// Seconds since 1970 of `notBefore` and `notAfter`; `None` if the certificate is not as it should be.
pub(super) fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, outer, _) = element(certificate)?;
    let (_, mut inside, _) = element(outer)?;
    // [0] version, which may be missing.
    if inside.first() == Some(&0xa0) {
        inside = element(inside)?.2;
    }
    // serialNumber, signature, issuer.
    for _ in 0..3 {
        inside = element(inside)?.2;
    }
    let (_, dates, _) = element(inside)?;
    let (tag, before, rest) = element(dates)?;
    let (end_tag, after, _) = element(rest)?;
    Some((time(tag, before)?, time(end_tag, after)?))
}

/// The first element: its tag, its content, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `UTCTime` (`YYMMDDhhmmssZ`) or `GeneralizedTime` (`YYYYMMDDhhmmssZ`).
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = text.split_at_checked(match tag {
        0x17 => 2,
        0x18 => 4,
        _ => return None,
    })?;
    let mut year: i64 = year.parse().ok()?;
    if tag == 0x17 {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970-01-01 in the Gregorian calendar, counted from March so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_of_time_are_read() {
        assert_eq!(time(0x17, b"700101000000Z"), Some(0));
        assert_eq!(time(0x17, b"240229120000Z"), Some(1_709_208_000));
        assert_eq!(time(0x17, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(0x18, b"20500101000000Z"), Some(2_524_608_000));
        for (tag, odd) in [(0x17, &b"240229120000"[..]), (0x17, b"24022912Z"), (0x02, b"240229120000Z"), (0x17, b"Z")] {
            assert_eq!(time(tag, odd), None);
        }
    }

    #[test]
    fn a_certificate_says_how_long_it_is_valid_and_anything_else_says_nothing() {
        let mut parameters = rcgen::CertificateParams::new(["ftp.example.net".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 3, 1);
        parameters.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der();
        assert_eq!(validity(der), Some((1_583_020_800, 2_556_144_000)));
        for length in 0..der.len() {
            assert_eq!(validity(&der[..length]), None);
        }
        assert_eq!(validity(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
