//! `/api/v1/{model}/tokenize`

use mobilebert::{Encoding, OffsetUnit};
use serde::{Deserialize, Serialize};

use super::results;
use crate::call::{Call, Step};
use crate::dialect::shape::{self, Items, Unit};
use crate::error::Result;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizeRequest {
    inputs: Items,
    #[serde(default)]
    offsets: Unit,
}

/// `POST /api/v1/{model}/tokenize`
pub(crate) fn tokenize(call: &Call) -> Result<Step> {
    let TokenizeRequest { inputs, offsets: Unit(unit) } = call.json()?;
    let model = call.model()?;
    call.check_texts("inputs", inputs.texts().into_iter())?;
    #[derive(Serialize)]
    struct Line {
        ids: Vec<u32>,
        tokens: Vec<String>,
        offsets: Vec<(usize, usize)>,
        #[serde(skip_serializing_if = "Option::is_none")]
        type_ids: Option<Vec<u32>>,
    }
    let line = |item: &shape::Item| {
        let encoding = match &item.second {
            Some(second) => model.tokenizer().encode_pair(&item.first, second)?,
            None => model.tokenizer().encode(&item.first)?,
        };
        let texts: Vec<&str> =
            [Some(item.first.as_str()), item.second.as_deref()].into_iter().flatten().collect();
        Ok(Line {
            ids: encoding.ids().to_vec(),
            tokens: encoding.tokens().map(str::to_owned).collect(),
            offsets: offsets(&encoding, &texts, unit)?,
            type_ids: (texts.len() > 1).then(|| encoding.type_ids().to_vec()),
        })
    };
    let lines = inputs.all.iter().map(line).collect::<Result<Vec<_>>>()?;
    results(model, lines).map(Step::Reply)
}

/// Returns the place of each token in its text. Special tokens that the tokenizer added have 0 and 0.
pub(crate) fn offsets(encoding: &Encoding, texts: &[&str], unit: OffsetUnit) -> Result<Vec<(usize, usize)>> {
    let span = |position| match encoding.sequence(position) {
        Some(_) => (encoding.span(position).start, encoding.span(position).end),
        None => (0, 0),
    };
    let mut offsets: Vec<(usize, usize)> = (0..encoding.len()).map(span).collect();
    for (number, text) in texts.iter().enumerate() {
        let of_text = offsets.iter_mut().enumerate().filter(|(i, _)| encoding.sequence(*i) == Some(number));
        unit.convert(text, of_text.flat_map(|(_, (start, end))| [start, end]))?;
    }
    Ok(offsets)
}
