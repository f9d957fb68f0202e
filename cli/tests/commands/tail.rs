use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use runlake_engine::State;

use super::lab::{Lab, finished_run, spawn};

/// Long enough for a busy machine, short enough to notice that nothing comes.
const DEADLINE: Duration = Duration::from_mins(1);

/// The lines that `child` prints, as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = sync_channel(1000);
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::Builder::new()
        .name("lines".to_owned())
        .spawn(move || {
            for line in out.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        })
        .unwrap();
    lines
}

/// A line without its time of day.
fn said(line: &str) -> String {
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn tail_prints_each_row_once_as_it_is_logged_until_the_run_ends() {
    let lab = Lab::new();
    let lake = lab.lake();
    let run = lake.run("p").name("live").start().unwrap();
    for step in 0..20 {
        run.log_named(step, &[("loss", 0.5), ("acc", 0.25)]).unwrap();
    }
    let mut child = spawn(&mut lab.command(&["tail", "live", "-n", "2"]));
    let lines = lines(&mut child);
    for step in 18..20 {
        let line = lines.recv_timeout(DEADLINE).unwrap();
        assert_eq!(said(&line), format!("step {step} acc 0.2500 loss 0.5000"));
    }
    // A step that goes back, one that repeats, and a flush in between: each row comes once.
    for (step, loss) in [(20, 0.25), (3, 0.125), (3, 0.125), (21, f64::NAN)] {
        run.log_named(step, &[("loss", loss)]).unwrap();
        let line = lines.recv_timeout(DEADLINE).unwrap();
        let value = if loss.is_nan() { "NaN".to_owned() } else { format!("{loss:.4}") };
        assert_eq!(said(&line), format!("step {step} loss {value}"));
        lake.flush().unwrap();
    }
    run.finish(State::Finished).unwrap();
    assert_eq!(lines.recv_timeout(DEADLINE).ok(), None, "nothing more, and the end");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("following live") && err.contains("live finished after"), "{err}");
}

#[test]
fn tail_of_a_run_that_ended_prints_its_last_rows_and_returns() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 30);
    let out = lab.run(&["tail", "a", "-n", "3", "--metric", "train/loss"]).ok().out;
    let steps: Vec<String> = out.lines().map(said).collect();
    assert_eq!(
        steps,
        ["step 27 train/loss 0.03571", "step 28 train/loss 0.03448", "step 29 train/loss 0.03333"]
    );
}

#[test]
fn tail_says_so_where_a_metric_is_not_there_and_suggests() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 3);
    let said = lab.run(&["tail", "a", "--metric", "trian/loss", "--metric", "train/accuracy"]);
    let said = said.ok().says(&["no metric 'trian/loss' yet; did you mean 'train/loss'?"]);
    assert_eq!(said.out.lines().count(), 3, "{said:#?}");
    assert!(!said.err.contains("train/accuracy"), "{said:#?}");
}

#[test]
fn ctrl_c_ends_tail_politely() {
    let lab = Lab::new();
    let lake = lab.lake();
    let run = lake.run("p").name("live").start().unwrap();
    run.log_named(0, &[("loss", 0.5)]).unwrap();
    let mut child = spawn(&mut lab.command(&["tail", "live"]));
    let lines = lines(&mut child);
    lines.recv_timeout(DEADLINE).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("stopped following; live goes on"), "{err}");
}
