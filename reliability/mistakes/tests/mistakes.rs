//! The compiler's words are those that help.

use std::path::Path;

use ioloop_mistakes::compile;

#[test]
fn the_compilers_words_lead_out_of_each_mistake() {
    let mistakes = compile(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes")).unwrap();
    assert!(mistakes.len() > 20);
    let complaints: Vec<_> = mistakes.iter().filter_map(|mistake| mistake.complaint()).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}
