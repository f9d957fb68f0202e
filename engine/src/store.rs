//! Which lake: the argument, the environment, the nearest `runs.lake` upward, or the root of the repository.

use std::path::{Path, PathBuf};

use crate::lake::features;

/// The name of a lake where none is given.
const NAME: &str = "runs.lake";

/// Where a lake is looked for, and why there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The absolute path of the lake, which may not exist yet.
    pub path: PathBuf,
    /// Whether a lake stands there.
    pub exists: bool,
    /// What was looked at, in order, each as one phrase.
    pub looked: Vec<String>,
}

/// Resolves which lake is meant: `store`, else `environment` (the value of `$RUNLAKE_STORE`), else the nearest
/// `runs.lake` upward from `directory` (stopping at the root of the git repository or at `home`), else `runs.lake` at
/// that git root, else in `directory`. Reads the disk, never writes.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// let lake = runlake_engine::store::resolve(None, None, None, folder.path());
/// assert_eq!((lake.path, lake.exists), (folder.path().join("runs.lake"), false));
/// ```
pub fn resolve(
    store: Option<&Path>,
    environment: Option<&Path>,
    home: Option<&Path>,
    directory: &Path,
) -> Resolution {
    for (path, rule) in [
        (store, "as given"),
        (environment.filter(|path| !path.as_os_str().is_empty()), "$RUNLAKE_STORE"),
    ] {
        if let Some(path) = path {
            let path = directory.join(path);
            return Resolution {
                exists: is_lake(&path),
                looked: vec![format!("{} ({rule})", path.display())],
                path,
            };
        }
    }
    let mut looked = Vec::new();
    let mut git_root = None;
    for folder in directory.ancestors() {
        let path = folder.join(NAME);
        looked.push(path.display().to_string());
        if is_lake(&path) {
            return Resolution { path, exists: true, looked };
        }
        if folder.join(".git").exists() {
            git_root = Some(folder);
            break;
        }
        if home == Some(folder) {
            break;
        }
    }
    let path = git_root.unwrap_or(directory).join(NAME);
    Resolution { path, exists: false, looked }
}

fn is_lake(path: &Path) -> bool {
    path.join(features::FILE).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;

    #[test]
    fn the_nearest_lake_upward_is_found_and_the_search_ends_at_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        let (root, deep) = (folder.path(), folder.path().join("repo/a/b"));
        disk::create_dirs(&deep).unwrap();
        disk::create_dirs(&root.join("repo/.git")).unwrap();
        crate::Lake::open_or_create(root.join(NAME)).unwrap();
        let resolved = resolve(None, None, None, &deep);
        assert_eq!(
            (resolved.path, resolved.exists),
            (root.join("repo").join(NAME), false),
            "not above the repository"
        );
        crate::Lake::open_or_create(root.join("repo/a").join(NAME)).unwrap();
        let resolved = resolve(None, None, None, &deep);
        assert_eq!((resolved.path, resolved.exists), (root.join("repo/a").join(NAME), true));
        let named =
            resolve(Some(Path::new("mine.lake")), Some(Path::new("other.lake")), None, &deep);
        assert_eq!((named.path, named.exists), (deep.join("mine.lake"), false));
        let named = resolve(None, Some(Path::new("other.lake")), None, &deep);
        assert_eq!(named.path, deep.join("other.lake"));
    }
}
