//! A session: DataFusion with the functions, and settings that suit slow ones.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::common::collect;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use mobilebert_sql_core::{Call, Counts, Models};

use crate::copy::{self, NoPartialFiles};
use crate::files::{Stores, environment, name_tables_by_files};
use crate::options::ModelOptions;
use crate::order::CheapFiltersFirst;
use crate::registry::{Registry, register};

/// The settings of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The number of partitions, each of which runs on a thread of its own; 0 counts as 1. Default: the
    /// number of cores.
    pub threads: usize,
    /// The number of rows in a batch. Default: 1,024, because a batch of DataFusion's 8,192 keeps a thread
    /// busy for many seconds. 0 counts as 1.
    pub batch_size: usize,
    /// Names for models, and what they mean: a folder, a hub id or another name.
    pub models: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { threads, batch_size: 1024, models: Vec::new() }
    }
}

impl Settings {
    /// Makes the default settings with some changes.
    pub fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut settings = Self::default();
        change(&mut settings);
        settings
    }

    /// Returns DataFusion's configuration.
    pub fn config(&self) -> SessionConfig {
        /// A file is read by several threads from this size on. Texts of DataFusion's 10 MiB are hours of
        /// work.
        const LEAST_SHARED_FILE: usize = 64 << 10;
        let mut config = SessionConfig::new()
            .with_target_partitions(self.threads.max(1))
            .with_batch_size(self.batch_size.max(1))
            .with_information_schema(true)
            .with_option_extension(ModelOptions::default());
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.repartition_file_min_size = LEAST_SHARED_FILE;
        // This rule moves the reading of a struct's field down to the scan of the file. It would do so with
        // `classify(text)['label']`, so that the model ran before the filters that drop rows.
        optimizer.enable_leaf_expression_pushdown = false;
        config
    }

    /// Returns the models by their names.
    pub fn registry(&self) -> Registry {
        let models = Models::new();
        for (name, source) in &self.models {
            models.add(name, source.as_str());
        }
        Registry::new(models)
    }
}

/// A context with the functions.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    registry: Registry,
}

impl Session {
    /// Makes a session on this machine.
    ///
    /// # Errors
    /// Those of DataFusion.
    pub fn new(settings: &Settings) -> Result<Self> {
        let state = SessionStateBuilder::new()
            .with_config(settings.config())
            .with_runtime_env(environment(&Arc::new(Stores::default()), None)?)
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(CheapFiltersFirst))
            .with_physical_optimizer_rule(Arc::new(NoPartialFiles))
            .build();
        Self::of(SessionContext::new_with_state(state), settings.registry())
    }

    /// Registers the functions in a context. Its tables may be named by files: `select … from
    /// 'reviews/*.parquet'`.
    ///
    /// # Errors
    /// Those of DataFusion.
    pub fn of(context: SessionContext, registry: Registry) -> Result<Self> {
        let mut context = name_tables_by_files(context);
        register(&mut context, &registry)?;
        Ok(Self { context, registry })
    }

    /// Returns the context.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Returns the models and the counts of the calls.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Reads the statements of a text.
    ///
    /// # Errors
    /// Those of the parser, and that a statement has more operators in a row than plans may be deep.
    pub fn statements(&self, sql: &str) -> Result<Vec<Statement>> {
        check_depth(sql)?;
        DFParser::parse_sql(sql).map(Into::into)
    }

    /// Plans and starts a statement, whose rows come as they are computed. `EXPLAIN ANALYZE` is run to its
    /// end, and has a row more for each call of a model.
    ///
    /// # Errors
    /// Those of planning.
    pub async fn start(&self, statement: Statement) -> Result<SendableRecordBatchStream> {
        self.start_with(statement, |_| ()).await
    }

    /// The same. `planned` is given the plan before it runs.
    pub(crate) async fn start_with(
        &self,
        statement: Statement,
        planned: impl FnOnce(&Arc<dyn ExecutionPlan>),
    ) -> Result<SendableRecordBatchStream> {
        let plan = self.context.state().statement_to_plan(statement).await?;
        copy::check(&plan)?;
        let analyzed = matches!(plan, LogicalPlan::Analyze(_));
        let before = self.counts();
        let rows = self.context.execute_logical_plan(plan).await?;
        let tasks = Arc::new(rows.task_ctx());
        let plan = rows.create_physical_plan().await?;
        planned(&plan);
        let stream = execute_stream(plan, tasks)?;
        if !analyzed {
            return Ok(stream);
        }
        let schema = stream.schema();
        let mut batches = collect(stream).await?;
        let calls: Vec<String> =
            self.since(&before).into_iter().map(|(call, counts)| format!("{call}: {counts}")).collect();
        if !calls.is_empty() {
            let kinds: ArrayRef = Arc::new(StringArray::from(vec!["Model calls"; calls.len()]));
            batches.push(RecordBatch::try_new(
                Arc::clone(&schema),
                vec![kinds, Arc::new(StringArray::from(calls))],
            )?);
        }
        Ok(Box::pin(MemoryStream::try_new(batches, schema, None)?))
    }

    /// Runs statements and returns the rows of the last one.
    ///
    /// # Errors
    /// Those of DataFusion and of the functions.
    pub async fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let mut rows = None;
        for statement in self.statements(sql)? {
            rows = Some(collect(self.start(statement).await?).await?);
        }
        rows.ok_or_else(|| DataFusionError::Plan("expected a statement; found none".to_owned()))
    }

    /// Returns what each call has done so far.
    pub(crate) fn counts(&self) -> HashMap<Call, Counts> {
        self.registry.counts().into_iter().collect()
    }

    /// Returns what the calls have done since then.
    pub(crate) fn since(&self, before: &HashMap<Call, Counts>) -> Vec<(Call, Counts)> {
        let since = |(call, counts): (Call, Counts)| {
            let counts = counts - before.get(&call).copied().unwrap_or_default();
            (counts.calls > 0).then_some((call, counts))
        };
        self.registry.counts().into_iter().filter_map(since).collect()
    }
}

/// Refuses a statement that would make a plan deeper than the stack. The parser sees to parentheses, but not to
/// `1 + 1 + 1 + …`, `a or b or c or …` and `select … union select … union …`, each of which is as deep as it is long.
fn check_depth(sql: &str) -> Result<()> {
    const MOST: usize = 2000;
    // What is no token is told by the parser.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let mut operators = 0;
    let mut is_operand = false;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        let joins = match token {
            Token::SemiColon => {
                operators = 0;
                false
            }
            Token::Word(word) => matches!(
                word.keyword,
                Keyword::AND
                    | Keyword::OR
                    | Keyword::UNION
                    | Keyword::EXCEPT
                    | Keyword::INTERSECT
                    | Keyword::JOIN
            ),
            // A sign before a number is no operator, and a list is no element of another.
            Token::Plus | Token::Minus | Token::LBracket => is_operand,
            Token::Mul | Token::Div | Token::Mod | Token::StringConcat | Token::DoubleColon => true,
            Token::Ampersand | Token::Pipe | Token::Caret | Token::ShiftLeft | Token::ShiftRight => true,
            Token::Arrow | Token::LongArrow => true,
            _ => false,
        };
        is_operand = !joins && !matches!(token, Token::Comma | Token::LParen | Token::LBracket);
        operators += usize::from(joins);
        if operators > MOST {
            return plan_err!(
                "a statement has more than {MOST} operators; write `in (…)` instead of many `or`, or several statements"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_depth;

    #[test]
    fn long_lists_are_read_and_deep_statements_are_refused() {
        let list = |item: &str, between: &str, count| vec![item; count].join(between);
        for (text, is_read) in [
            (format!("select * from t where x in ({})", list("'it''s'", ", ", 50_000)), true),
            (format!("insert into t values {}", list("(-1, 'a', [-2.5])", ", ", 50_000)), true),
            (format!("select {}", list("x = 1", " or ", 1000)), true),
            (list("select 1 + 1", "; ", 50_000), true),
            (format!("select {}", list("1", " + ", 1000)), true),
            (format!("select {}", list("1", " + ", 50_000)), false),
            (format!("select {}", list("x = 1", " or ", 50_000)), false),
            (format!("select 1{}", list("", "::int", 50_000)), false),
            (format!("select a{}", list("", "[1]", 50_000)), false),
            (list("select 1", " union all ", 50_000), false),
            (list("\'", " ", 3), true),
        ] {
            assert_eq!(check_depth(&text).is_ok(), is_read, "{:.60}", text);
        }
    }
}
