//! Parts of errors that the backends of all clouds share.

use super::ServiceError;

/// The error of a resource that does not carry the installation's mark. Only the operator can remove it.
pub(super) fn foreign(backend: &str, what: &str) -> ServiceError {
    let problem =
        format!("{what} exists and does not carry this installation's mark; bindery leaves it alone.");
    ServiceError::new(backend, format!("{problem} Ask the operator to remove or rename it"))
        .detailed(format!("{problem} Remove or rename it"))
        .foreign()
}

/// The text with every number of an account replaced: users need not know whose account they use. `digits` is the length
/// of such a number.
pub(super) fn without_accounts(text: &str, digits: usize) -> String {
    let mut shown = String::new();
    let mut number = String::new();
    for letter in text.chars().map(Some).chain([None]) {
        match letter {
            Some(digit) if digit.is_ascii_digit() => number.push(digit),
            other => {
                shown.push_str(if number.len() == digits { "ACCOUNT" } else { &number });
                number.clear();
                shown.extend(other);
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_see_no_number_of_an_account() {
        let text = "acs:ram::1234567890123456:user/x 8080";
        assert_eq!(without_accounts(text, 16), "acs:ram::ACCOUNT:user/x 8080");
        assert_eq!(without_accounts(text, 12), text);
        assert_eq!(without_accounts("of 123456789012", 12), "of ACCOUNT");
    }
}
