//! Values stand beside the text of a query, and are never read as SQL.

use runlake_query::Parameter::{self, Boolean, Double, Integer, List, Null, Text};

use super::{Fixture, log, rows};

fn ask(lake: &Fixture, query: &str, parameters: &[(&str, Parameter)]) -> Vec<String> {
    let named = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    rows(&lake.session.clone().with_parameters(named), query)
}

fn error(lake: &Fixture, query: &str, parameters: &[(&str, Parameter)]) -> String {
    let named = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    lake.session.clone().with_parameters(named).sql(query).unwrap_err().to_string()
}

#[test]
fn a_value_comes_back_as_it_is() {
    let lake = Fixture::new();
    for (value, shown) in [
        (Null, "NULL"),
        (Boolean(true), "true"),
        (Integer(-5), "-5"),
        (Integer(i64::MIN), "-9223372036854775808"),
        (Integer(i64::MAX), "9223372036854775807"),
        (Double(0.1), "0.1"),
        (Double(-1e-300), "-1e-300"),
        (Double(3.0), "3.0"),
        (Double(f64::NAN), "NaN"),
        (Double(f64::NEG_INFINITY), "-inf"),
        (
            Text("it's; drop table runs -- $1 \\ \"x\"".to_owned()),
            "it's; drop table runs -- $1 \\ \"x\"",
        ),
        (List(vec![Integer(1), Integer(2)]), "[1, 2]"),
    ] {
        assert_eq!(ask(&lake, "select $1", &[("1", value)]), [shown]);
    }
}

#[test]
fn parameters_stand_wherever_a_value_can() {
    let lake = Fixture::new();
    for id in ["a", "b", "c"] {
        log(&lake.run(id), "loss", 0, &[1.0, 2.0]);
    }
    let text = |text: &str| Text(text.to_owned());
    let ids = List(vec![text("a"), text("c")]);
    assert_eq!(
        ask(
            &lake,
            "select run_id from runs where run_id in ($ids) order by 1",
            &[("ids", ids.clone())]
        ),
        ["a", "c"]
    );
    assert_eq!(
        ask(&lake, "select count(*) from runs where run_id in ($ids)", &[("ids", List(vec![]))]),
        ["0"]
    );
    let chart = "select run_id, mean_value from chart($metric, runs => $ids, buckets => $n)";
    let chosen = [("metric", text("loss")), ("ids", ids), ("n", Integer(1))];
    assert_eq!(ask(&lake, chart, &chosen), ["a|1.5", "c|1.5"]);
    assert_eq!(
        ask(
            &lake,
            "select step from points where run_id = $1 and value > $2 and $1 is not null limit $3",
            &[("1", text("a")), ("2", Double(1.5)), ("3", Integer(10))]
        ),
        ["1"]
    );
    let explained =
        ask(&lake, "explain select * from runs where run_id = $1", &[("1", text("zz"))]);
    assert!(explained.iter().any(|line| line.contains("zz")), "{explained:?}");
    assert_eq!(
        ask(&lake, "with one as (select $1 as x) select x + $1 from one", &[("1", Integer(2))]),
        ["4"]
    );
}

#[test]
fn a_parameter_without_a_value_or_without_a_place_is_an_error() {
    let lake = Fixture::new();
    assert_eq!(error(&lake, "select $1", &[]), "parameter $1 has no value");
    let run = [("run", Integer(1))];
    assert!(
        error(&lake, "select $rum", &run).contains("no parameter \"$rum\"; did you mean $run?")
    );
    assert_eq!(
        error(&lake, "select 1", &run),
        "parameter $run has a value, but no place in the query"
    );
}
