//! Amounts: `resources` and sizes.

use hugepages::Bytes;

use crate::quantity::{Quantity, QuantityError};
use crate::vmi::findings::Findings;
use crate::vmi::path::Path;

/// An amount in whatever `read` makes of the quantity.
pub(super) fn amount(
    quantity: Option<&Quantity>,
    at: &Path,
    read: impl Fn(&Quantity) -> Result<u64, QuantityError>,
    out: &mut Findings,
) -> Option<u64> {
    match read(quantity?) {
        Ok(amount) => Some(amount),
        Err(error) => {
            out.refuse(at, error.to_string(), error.hint());
            None
        }
    }
}

/// A request may not be above its limit.
pub(super) fn request_within_limit(
    resource: &str,
    (request, limit): (Option<&Quantity>, Option<&Quantity>),
    read: impl Fn(&Quantity) -> Result<u64, QuantityError> + Copy,
    out: &mut Findings,
) {
    let at = Path::of("spec.domain.resources");
    let at_request = at.key("requests").key(resource.to_owned());
    let at_limit = at.key("limits").key(resource.to_owned());
    let requested = amount(request, &at_request, read, out);
    let limited = amount(limit, &at_limit, read, out);
    if let (Some(requested), Some(limited), Some(request), Some(limit)) =
        (requested, limited, request, limit)
        && requested > limited
    {
        out.refuse(
            &at_request,
            format!("`{request}` is more than the limit `{limit}`"),
            format!("lower it, or raise `{at_limit}`"),
        );
    }
}

/// A size that must be at least `least`: what is smaller is nearly always a unit forgotten.
pub(super) fn size(
    quantity: &Quantity,
    least: Bytes,
    at: &Path,
    out: &mut Findings,
) -> Option<Bytes> {
    let bytes = Bytes(amount(Some(quantity), at, Quantity::value, out)?);
    if bytes >= least {
        return Some(bytes);
    }
    let text = quantity.to_string();
    let number = text.trim_end_matches(['m', 'u', 'n', 'k', 'M']);
    let hint = if quantity.is_in_fractions() {
        format!("`m` is a thousandth: did you mean `{number}Mi`?")
    } else if bytes.0 > 0 && number.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("did you mean `{number}Mi`?")
    } else {
        format!("give at least `{least}`")
    };
    out.refuse(at, format!("`{text}` is less than `{least}`"), hint);
    None
}
