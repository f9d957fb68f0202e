//! Which segments are merged next.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashSet;

use crate::SegmentMeta;

/// What is worth a merge, and how much one takes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A merged file of at least so many bytes is left alone for good.
    pub(crate) full_bytes: u64,
    /// Files that one merge reads, at most.
    pub(crate) most_inputs: usize,
    /// Bytes that one merge reads, at most.
    pub(crate) most_bytes: u64,
    /// Files of flushes among them, at least.
    pub(crate) least_new: usize,
    /// Whether a file waits until the files after it weigh as much as it does. Each byte is then written again only as
    /// often as the table has doubled; without it few files are left.
    pub(crate) is_thrifty: bool,
}

/// Segments of one project that stand side by side and may be merged: none of the project comes between them that
/// stays where it is, so that their points have one place in the order of logging.
pub(super) type Stretch = Vec<Arc<SegmentMeta>>;

/// All stretches of a table. Left out are full files, files that somebody else wrote or that came from another lake, and those that `left_alone` names.
/// Linear in the segments.
pub(super) fn stretches(
    segments: &[Arc<SegmentMeta>],
    left_alone: &FxHashSet<String>,
    limits: &Limits,
) -> Vec<Stretch> {
    let mut ended = Vec::new();
    let mut open: BTreeMap<&str, Stretch> = BTreeMap::new();
    for segment in segments {
        let Some(project) = segment.project.as_deref() else {
            // A file without our tags may hold points of any run.
            ended.extend(std::mem::take(&mut open).into_values());
            continue;
        };
        // Points that have expired are not merged. The files around them are, where no run has points on both sides.
        if segment.is_expired()
            && open
                .get(project)
                .is_none_or(|stretch| stretch.iter().all(|it| are_apart(it, segment)))
        {
            continue;
        }
        let is_full = segment.level > 0 && segment.bytes >= limits.full_bytes;
        // What came from another lake has to keep its name for the next merge of that lake.
        if is_full
            || segment.is_expired()
            || segment.source.is_some()
            || left_alone.contains(&segment.name)
        {
            ended.extend(open.remove(project));
        } else {
            open.entry(project).or_default().push(Arc::clone(segment));
        }
    }
    ended.extend(open.into_values());
    ended
}

/// Whether no run is in both, for certain.
fn are_apart(a: &SegmentMeta, b: &SegmentMeta) -> bool {
    let (Some(a), Some(b)) = (&a.runs, &b.runs) else { return false };
    !a.iter().any(|run| b.contains(run))
}

/// The next merge: the oldest neighbours that are worth it and fit the limits. As long as each merge leaves at most one
/// file that is not full, merging until there is no plan comes to an end.
pub(super) fn plan<'a>(
    stretches: &'a [Stretch],
    limits: &Limits,
) -> Option<&'a [Arc<SegmentMeta>]> {
    let windows = |stretch: &'a Stretch| {
        (0..stretch.len()).map(move |first| window(&stretch[first..], limits))
    };
    stretches.iter().flat_map(windows).find(|window| is_worth_it(window, limits))
}

/// As many of `segments`, from the first on, as one merge takes.
fn window<'a>(segments: &'a [Arc<SegmentMeta>], limits: &Limits) -> &'a [Arc<SegmentMeta>] {
    let mut bytes = 0;
    let fits = |segment: &&Arc<SegmentMeta>| {
        bytes += segment.bytes;
        bytes <= limits.most_bytes
    };
    let count = segments.iter().take(limits.most_inputs).take_while(fits).count();
    &segments[..count]
}

fn is_worth_it(window: &[Arc<SegmentMeta>], limits: &Limits) -> bool {
    let [first, rest @ ..] = window else { return false };
    let new = window.iter().filter(|segment| segment.level == 0).count();
    let rest_bytes: u64 = rest.iter().map(|segment| segment.bytes).sum();
    !rest.is_empty() && new >= limits.least_new && (!limits.is_thrifty || first.bytes <= rest_bytes)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Add;

    const LIMITS: Limits = Limits {
        full_bytes: 100,
        most_inputs: 8,
        most_bytes: 400,
        least_new: 0,
        is_thrifty: false,
    };

    fn segment(name: &str, project: Option<&str>, level: u8, bytes: u64) -> Arc<SegmentMeta> {
        let tags = project.map(|project| {
            BTreeMap::from([
                ("runlake.project".to_owned(), Some(project.to_owned())),
                ("runlake.level".to_owned(), Some(level.to_string())),
            ])
        });
        let add = Add {
            path: name.to_owned(),
            partition_values: BTreeMap::new(),
            size: bytes.cast_signed(),
            modification_time: 0,
            data_change: true,
            stats: None,
            tags,
        };
        Arc::new(SegmentMeta::from_add(Path::new("t"), &add, 1))
    }

    fn names(segments: Option<&[Arc<SegmentMeta>]>) -> Vec<&str> {
        segments.unwrap_or_default().iter().map(|segment| segment.name.as_str()).collect()
    }

    fn planned(segments: &[Arc<SegmentMeta>], limits: &Limits) -> Vec<String> {
        let stretches = stretches(segments, &FxHashSet::default(), limits);
        names(plan(&stretches, limits)).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn only_neighbours_of_one_project_are_merged() {
        let (p, q) = (Some("p"), Some("q"));
        let segments = [
            segment("1", p, 0, 10),
            segment("2", q, 0, 10),
            segment("3", p, 0, 10),
            segment("4", q, 0, 10),
        ];
        assert_eq!(planned(&segments, &LIMITS), ["1", "3"]);
        assert_eq!(planned(&segments[1..], &LIMITS), ["2", "4"]);
        assert_eq!(planned(&segments[1..3], &LIMITS), [""; 0], "one file is nothing to merge");
        for between in [segment("full", p, 1, 100), segment("foreign", None, 0, 10)] {
            let segments = [segment("1", p, 0, 10), between, segment("3", p, 0, 10)];
            assert_eq!(planned(&segments, &LIMITS), [""; 0]);
        }
        let broken = FxHashSet::from_iter(["3".to_owned()]);
        assert_eq!(names(plan(&stretches(&segments, &broken, &LIMITS), &LIMITS)), ["2", "4"]);
    }

    #[test]
    fn a_writer_waits_for_enough_new_files_and_for_as_much_as_it_merges_with() {
        let files = |first: u64, new: usize| {
            let mut files = vec![segment("old", Some("p"), 1, first)];
            files.extend((0..new).map(|at| segment(&at.to_string(), Some("p"), 0, 10)));
            files
        };
        let careful = Limits { least_new: 3, is_thrifty: true, ..LIMITS };
        assert_eq!(planned(&files(10, 2), &careful), [""; 0]);
        assert_eq!(planned(&files(30, 3), &careful), ["old", "0", "1", "2"]);
        assert_eq!(planned(&files(31, 3), &careful), ["0", "1", "2"]);
        assert_eq!(planned(&files(31, 3), &LIMITS), ["old", "0", "1", "2"]);
    }

    proptest! {
        #[test]
        fn merging_comes_to_an_end_within_its_limits_and_never_changes_the_order(
            files in proptest::collection::vec((0..3_usize, 0..2_u8, 1..150_u64), 0..60),
            is_thrifty: bool,
        ) {
            let limits = Limits { is_thrifty, ..LIMITS };
            // Each file is made of the files that it was merged from, by their number.
            let mut table: Vec<(Arc<SegmentMeta>, Vec<usize>)> = Vec::new();
            for (at, &(project, level, bytes)) in files.iter().enumerate() {
                let project = [None, Some("p"), Some("q")][project];
                table.push((segment(&at.to_string(), project, level, bytes), vec![at]));
            }
            for round in 0.. {
                prop_assert!(round <= files.len(), "each merge leaves fewer files that can be merged");
                let segments: Vec<_> = table.iter().map(|(segment, _)| Arc::clone(segment)).collect();
                let stretches = stretches(&segments, &FxHashSet::default(), &limits);
                let Some(inputs) = plan(&stretches, &limits) else { break };
                let bytes: u64 = inputs.iter().map(|input| input.bytes).sum();
                prop_assert!(inputs.len() <= limits.most_inputs && bytes <= limits.most_bytes);
                prop_assert!(inputs.iter().all(|input| input.project == inputs[0].project));
                let is_input = |segment: &Arc<SegmentMeta>| inputs.iter().any(|it| it.name == segment.name);
                let made_of = table.iter().filter(|(segment, _)| is_input(segment));
                let made_of: Vec<usize> = made_of.flat_map(|(_, made_of)| made_of.clone()).collect();
                let merged = segment(&format!("m{round}"), inputs[0].project.as_deref(), 1, bytes);
                let place = table.iter().rposition(|(segment, _)| is_input(segment)).unwrap();
                table[place] = (merged, made_of);
                table.retain(|(segment, _)| !is_input(segment));
            }
            for project in ["p", "q"] {
                let mine = table.iter().filter(|(segment, _)| segment.project.as_deref() == Some(project));
                let order: Vec<usize> = mine.flat_map(|(_, made_of)| made_of.clone()).collect();
                prop_assert!(order.is_sorted(), "{order:?}");
            }
        }
    }
}
