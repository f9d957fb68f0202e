//! Functions of whole partitions: `f(x, ...) over (partition by ... order by ...)`.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, Float64Array},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Float64Type},
};
use datafusion::{
    common::Result,
    logical_expr::{
        PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    },
};

use crate::QueryError;

/// A function that sees the rows of a partition in their order, and answers all of them at once.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) name: &'static str,
    /// How it is called.
    pub(super) usage: &'static str,
    /// The type of the answers; without one, that of the first argument.
    pub(super) answers: Option<DataType>,
    pub(super) answer: fn(&Arguments<'_>) -> Result<ArrayRef>,
}

/// What a function is called with, for each row of a partition.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    columns: &'a [ArrayRef],
    /// The same as numbers, where they are.
    numbers: Vec<Float64Array>,
    usage: &'static str,
}

impl Arguments<'_> {
    /// The numbers of an argument; none for NULL.
    pub(super) fn known(&self, at: usize) -> impl Iterator<Item = Option<f64>> {
        self.numbers[at].iter()
    }

    /// The finite numbers of an argument; none for NULL, and for what is no number or infinite.
    pub(super) fn finite(&self, at: usize) -> impl Iterator<Item = Option<f64>> {
        self.numbers[at].iter().map(|value| value.filter(|value| value.is_finite()))
    }

    /// An argument as it is.
    pub(super) fn column(&self, at: usize) -> &ArrayRef {
        &self.columns[at]
    }

    pub(super) fn rows(&self) -> usize {
        self.columns[0].len()
    }

    /// An argument that has one value for all rows.
    pub(super) fn constant(&self, at: usize) -> Option<f64> {
        let column = &self.numbers[at];
        (!column.is_empty() && column.is_valid(0)).then(|| column.value(0))
    }

    /// How many rows are to be kept: a whole number of at least one.
    pub(super) fn how_many(&self, at: usize) -> Result<usize, QueryError> {
        let number = self.constant(at).filter(|number| number.fract() == 0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and within"
        )]
        number
            .filter(|number| (1.0..=1e9).contains(number))
            .map(|number| number as usize)
            .ok_or_else(|| self.wrong("it keeps a whole number of rows, at least 1"))
    }

    pub(super) fn wrong(&self, detail: &str) -> QueryError {
        QueryError::Invalid { detail: format!("{detail}: write {}", self.usage) }
    }
}

impl Over {
    /// The function, with `arguments` arguments.
    pub(super) fn function(self, arguments: usize) -> WindowUDF {
        let signature = Signature::any(arguments, Volatility::Immutable);
        WindowUDF::from(Function { signature, over: Arc::new(self) })
    }
}

#[derive(Debug)]
struct Function {
    signature: Signature,
    over: Arc<Over>,
}

// No two functions share a name.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.over.name == other.over.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.over.name.hash(state);
    }
}

impl WindowUDFImpl for Function {
    fn name(&self) -> &str {
        self.over.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, arguments: WindowUDFFieldArgs) -> Result<FieldRef> {
        let answers = self.over.answers.clone();
        let answers = answers.unwrap_or_else(|| arguments.input_fields()[0].data_type().clone());
        Ok(Arc::new(Field::new(arguments.name(), answers, true)))
    }

    fn partition_evaluator(
        &self,
        _arguments: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Partition { over: Arc::clone(&self.over) }))
    }
}

#[derive(Debug)]
struct Partition {
    over: Arc<Over>,
}

impl PartitionEvaluator for Partition {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let numbers = match self.over.answers {
            Some(_) => values.iter().map(numbers).collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let arguments = Arguments { columns: values, numbers, usage: self.over.usage };
        (self.over.answer)(&arguments)
    }
}

/// Numbers as they are, and times by their place.
fn numbers(values: &ArrayRef) -> Result<Float64Array> {
    let values = match values.data_type() {
        DataType::Timestamp(..) => &cast(values, &DataType::Int64)?,
        _ => values,
    };
    Ok(cast(values, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}
