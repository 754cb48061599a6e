//! A text with a secret in it: the secret up to the first zero byte, then the text.
//!
//! Where a text has the secret, the cleaned one is another; one without is left alone, but for what
//! may be a secret that was cut off at its end.

use wasmount_core::call::Secrets;
use wasmount_core::redact::Redactor;

use crate::Target;

pub(super) const TARGET: Target = Target { name: "redact", holds, seeds };

fn holds(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == 0) else { return };
    let (secret, text) = (&data[..end], String::from_utf8_lossy(&data[end + 1..]));
    let secrets: Secrets = [("key".to_owned(), secret.to_vec())].into_iter().collect();
    let redactor = Redactor::new(&secrets);
    let clean = redactor.clean(&text);
    let is_in =
        !secret.is_empty() && text.as_bytes().windows(secret.len()).any(|part| part == secret);
    if is_in && secret.trim_ascii().len() >= 4 {
        assert!(redactor.contains(text.as_bytes()));
    }
    if redactor.contains(text.as_bytes()) {
        assert!(clean.contains("[secret]"), "{clean}");
    }
    if *clean != *text {
        assert!(clean.contains("[secret]"), "{clean}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "hunter2\0the password hunter2 is wrong",
        "correct horse\0Authorization: Basic Y29ycmVjdCBob3JzZQ==",
        "a b+c/d\0https://x/?p=a%20b%2Bc%2Fd&q=a+b%2Bc%2Fd",
        "pass\n\0pass",
        "correct horse\0it was correct h",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
