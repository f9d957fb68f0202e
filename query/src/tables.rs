//! The tables and table functions of SQL. A file here has the name that SQL knows.

mod asof;
mod chart;
mod column;
mod compare;
mod config;
mod function;
mod history;
mod late;
mod metrics;
mod points;
mod rows;
mod runs;
mod runs_wide;
mod scan;
mod segments;
mod series;
mod summary;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProvider as _, CatalogProviderList as _, MemoryCatalogProvider,
        MemoryCatalogProviderList, SchemaProvider, TableProvider,
    },
    common::Result,
    execution::session_state::SessionState,
};
use runlake_engine::Snapshot;

use crate::QueryError;

/// The catalog that holds everything.
pub(crate) const CATALOG: &str = "lake";
/// The schema that holds the tables.
pub(crate) const SCHEMA: &str = "main";

const TABLES: [&str; 7] =
    ["config", "metrics", "points", "points_all", "runs", "segments", "series"];
const FUNCTIONS: [&str; 6] =
    ["chart", "compare", "generate_series", "history", "range", "runs_wide"];

/// Lets `state` see the tables and table functions of `snapshot`.
pub(crate) fn register(state: &mut SessionState, snapshot: &Snapshot) {
    let catalog = MemoryCatalogProvider::new();
    catalog
        .register_schema(SCHEMA, Arc::new(Tables::new(snapshot.clone())))
        .expect("a fresh catalog takes any schema");
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    state.register_catalog_list(Arc::new(catalogs));
    state
        .register_relation_planner(Arc::new(function::Functions::new(snapshot.clone())))
        .expect("registering a planner cannot fail");
}

/// The error for a table that is not there.
pub(crate) fn unknown(name: &str) -> QueryError {
    let name = name.trim_start_matches("lake.main.");
    if let Some(function) = function::Function::named(name) {
        return QueryError::Invalid {
            detail: format!("{name} is a table function: write {}", function.usage()),
        };
    }
    if looks_like_a_file(name) {
        return QueryError::ReadOnly {
            what: format!("a query reads the tables of the lake, not files such as '{name}'"),
        };
    }
    QueryError::unknown("table", name, TABLES)
}

/// The error for a table function that is not there.
pub(crate) fn unknown_function(name: &str) -> QueryError {
    if name.starts_with("read_") || name.ends_with("_scan") || name.starts_with("scan_") {
        return QueryError::ReadOnly {
            what: format!("a query reads the tables of the lake; {name} would read other files"),
        };
    }
    QueryError::unknown("table function", name, FUNCTIONS)
}

fn looks_like_a_file(name: &str) -> bool {
    let ending = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    name.contains(['/', '\\', '*'])
        || matches!(
            ending.as_str(),
            "parquet" | "csv" | "tsv" | "json" | "jsonl" | "ndjson" | "arrow" | "feather" | "gz"
        )
}

/// The tables of one snapshot, and those that a program put beside them.
#[derive(Debug)]
struct Tables {
    snapshot: Snapshot,
    /// Locked only to look up and to insert.
    others: RwLock<BTreeMap<String, Arc<dyn TableProvider>>>,
}

impl Tables {
    fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, others: RwLock::default() }
    }

    fn others(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<dyn TableProvider>>> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().map(|name| (*name).to_owned()).chain(self.others().keys().cloned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let snapshot = self.snapshot.clone();
        Ok(Some(match name {
            "config" => rows::table(config::Config { snapshot }),
            "metrics" => rows::table(metrics::Metrics { snapshot }),
            "points" => Arc::new(points::Points::effective(snapshot)),
            "points_all" => Arc::new(points::Points::all(snapshot)),
            "runs" => rows::table(runs::Runs { snapshot }),
            "segments" => rows::table(segments::Segments { snapshot }),
            "series" => rows::table(series::Series { snapshot }),
            _ => return Ok(self.others().get(name).cloned()),
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name) || self.others().contains_key(name)
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        if TABLES.contains(&name.as_str()) {
            let detail = format!("{name} is a table of the lake: give yours another name");
            return Err(QueryError::Invalid { detail }.into());
        }
        Ok(self.others.write().unwrap_or_else(PoisonError::into_inner).insert(name, table))
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.others.write().unwrap_or_else(PoisonError::into_inner).remove(name))
    }
}
