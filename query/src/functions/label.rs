//! `label(labels, 'rank')`: one label of a series.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::{
    common::Result,
    logical_expr::{
        ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature,
        Volatility, scalar_doc_sections::DOC_SECTION_STRING,
    },
};
use runlake_engine::json;
use serde_json::{Map, Value};

use super::Same;

/// The text of one label; NULL where there is none. Numbers are given as text: cast them to compute with them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Label {
    signature: Signature,
}

impl Label {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::one_of(
                vec![TypeSignature::String(2), TypeSignature::Any(2)],
                Volatility::Immutable,
            ),
        }
    }
}

impl ScalarUDFImpl for Label {
    fn name(&self) -> &'static str {
        "label"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar =
            arguments.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?
            .iter()
            .map(|column| cast(column, &DataType::Utf8View))
            .collect::<Result<Vec<_>, _>>()?;
        let mut same = Same::new([columns[0].as_string_view(), columns[1].as_string_view()]);
        let mut found = StringViewBuilder::with_capacity(columns[0].len());
        let mut last: Option<String> = None;
        for row in 0..columns[0].len() {
            if !same.as_last(row) {
                last = match same.texts(row) {
                    [Some(labels), Some(name)] => label(labels, name),
                    _ => None,
                };
            }
            found.append_option(last.as_deref());
        }
        let found = ColumnarValue::Array(Arc::new(found.finish()));
        if is_scalar {
            let ColumnarValue::Array(array) = &found else { return Ok(found) };
            return Ok(ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(
                array, 0,
            )?));
        }
        Ok(found)
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: std::sync::LazyLock<Documentation> = std::sync::LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_STRING,
                "The text of one label of a series; NULL where it has none.",
                "label(labels, name)",
            )
            .with_argument("labels", "The column `labels` of `points` or `series`.")
            .with_argument("name", "The label, such as 'rank'.")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn label(labels: &str, name: &str) -> Option<String> {
    let map: Map<String, Value> = serde_json::from_str(labels).ok()?;
    match map.get(name)? {
        Value::Null => None,
        value => Some(json::text(value)),
    }
}
