//! What travels from `attach` to the node, and from `waitforattach` to `mountdevice`, through
//! kubelet's hands and the API server's: the component's token, marked with whose it is.
//!
//! The mark keeps honest callers from mixing volumes up; it is no signature. Whatever a token
//! names is verified again by whoever uses it.

use super::{DriverName, VolumeName, invalid};
use crate::bundle::receipt::sha256_hex;
use crate::failure::{Code, Failure};

/// What each begins with: the version of the format.
const PREFIX: &str = "wm1:";

/// The longest token, in bytes; with the mark around it, it stays far below what kubelet and the
/// API server allow a device path.
const MAX_TOKEN: usize = 256;

/// A component's token of an attached volume: 1 to 256 bytes of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment(String);

impl Attachment {
    /// A component's token as the reply's `device`: `wm1:<mark>:<token>`. A token that is not
    /// 1 to 256 bytes of visible ASCII is the component's fault.
    pub fn wrap(token: &str, driver: &DriverName, name: &VolumeName) -> Result<String, Failure> {
        if !is_token(token) {
            let message = "the component returned an attachment that is not 1 to 256 bytes of \
                           visible ASCII; report this to the driver's vendor";
            return Err(Failure::new(Code::Internal, "attachment", message));
        }
        Ok(format!("{PREFIX}{}:{token}", mark(driver, name)))
    }

    /// Reads what [`wrap`](Self::wrap) made for this driver and volume.
    pub fn unwrap(text: &str, driver: &DriverName, name: &VolumeName) -> Result<Self, Failure> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':'));
        let Some((found, token)) = parts.filter(|(_, token)| is_token(token)) else {
            let message = "DEVICE is not what attach or waitforattach of this driver returned; \
                           pass that, or an empty argument";
            return Err(invalid("attachment", message));
        };
        if found != mark(driver, name) {
            let message = "DEVICE is what attach or waitforattach returned for another volume or \
                           another driver";
            return Err(invalid("attachment", message));
        }
        Ok(Self(token.to_owned()))
    }

    /// The component's token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_token(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|c| c.is_ascii_graphic())
}

/// Eight hexadecimal digits that tell one volume of one driver from another.
fn mark(driver: &DriverName, name: &VolumeName) -> String {
    // No name holds a zero byte, so that no two pairs are the same text.
    let mut hex = sha256_hex(format!("{driver}\0{name}").as_bytes());
    hex.truncate(8);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_for_its_own_volume_only() {
        let driver: DriverName = "example.com/x".parse().expect("a driver");
        let other: DriverName = "example.com/y".parse().expect("a driver");
        let (one, two): (VolumeName, VolumeName) =
            ("pv-1".parse().expect("a name"), "pv-2".parse().expect("a name"));
        let longest = "~".repeat(256);
        for token in ["!", "a:b:c", "{}", &longest] {
            let wrapped = Attachment::wrap(token, &driver, &one).expect(token);
            let back = Attachment::unwrap(&wrapped, &driver, &one).expect(token);
            assert_eq!(back.as_str(), token);
            for (driver, name) in [(&driver, &two), (&other, &one)] {
                let refused = Attachment::unwrap(&wrapped, driver, name).expect_err(token);
                assert!(refused.message.contains("another volume"), "{refused}");
            }
        }
        let too_long = "x".repeat(257);
        for token in ["", " ", "a b", "a\n", "ä", "\u{7f}", &too_long] {
            Attachment::wrap(token, &driver, &one).expect_err(token);
        }
        assert_eq!(Attachment::wrap("t", &driver, &one), Ok("wm1:afc99f76:t".to_owned()));
    }
}
