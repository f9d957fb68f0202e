//! Which lake a command works on.

use std::path::Path;

use runlake_engine::{
    Error, Lake,
    store::{self, Resolution},
};

use crate::failure::Failure;

/// Resolves which lake is meant, from the argument, the environment and the working directory.
pub(crate) fn resolve(store: Option<&Path>) -> Result<Resolution, Failure> {
    let directory = std::env::current_dir()
        .map_err(|error| Failure::new(format!("cannot read the working directory: {error}")))?;
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (environment, home) = (variable("RUNLAKE_STORE"), variable("HOME"));
    Ok(store::resolve(
        store,
        environment.as_deref().map(Path::new),
        home.as_deref().map(Path::new),
        &directory,
    ))
}

/// Opens the lake that is meant, for reading.
pub(crate) fn open(store: Option<&Path>) -> Result<Lake, Failure> {
    let found = resolve(store)?;
    if !found.exists {
        return Err(Error::NoLake { path: found.path, looked: found.looked }.into());
    }
    Ok(Lake::open(&found.path)?)
}

/// Opens the lake that is meant, and creates it where there is none.
pub(crate) fn open_or_create(store: Option<&Path>) -> Result<Lake, Failure> {
    Ok(Lake::open_or_create(resolve(store)?.path)?)
}
