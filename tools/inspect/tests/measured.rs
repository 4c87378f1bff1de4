//! What is measured, and when: alone in its process, where nobody else is connected.

mod viewer;

use viewer::{Viewer, bare, end, opened};

#[test]
fn calls_are_measured_while_somebody_is_connected_and_not_after_that() {
    let (inspector, _folder) = opened();
    let thread = bare("calls");
    let tick = || {
        thread.handle().add_callback(|| ()).unwrap();
    };
    tick();
    let mut viewer = Viewer::new(&inspector);
    let id = format!("loop={}", viewer.number("calls"));
    let from = format!("from={}:", file!());
    let has = [id.as_str(), "kind=callback", "calls=2", "total=0.", "longest=0.", &from];
    // The loop has answered, so it measures.
    tick();
    tick();
    viewer.line("calls ", &has);
    drop(viewer);
    // Whoever comes after the last one has left begins at zero.
    let mut viewer = loop {
        let mut viewer = Viewer::new(&inspector);
        let is_measured = |line: &String| line.starts_with("calls ") && line.contains(has[0]);
        if !viewer.picture().iter().any(is_measured) {
            break viewer;
        }
    };
    viewer.number("calls");
    tick();
    tick();
    viewer.line("calls ", &has);
    end(thread);
}
