//! Decides which memory each buffer of a plan uses.

use super::plan::{BufferId, Content, Home, Stage};

/// Assigns a home to each buffer. Buffers of the same content that are never in use at the same time share
/// one, unless `keep` is set. Returns the homes, and the contents of those that each block and each thread
/// owns.
pub(super) fn assign(
    stages: &[Stage],
    contents: &[Content],
    keep: bool,
) -> (Vec<Home>, Vec<Content>, Vec<Content>) {
    let mut lives: Vec<Option<[(usize, usize); 2]>> = vec![None; contents.len()];
    let steps =
        || stages.iter().enumerate().flat_map(|(s, stage)| stage.steps.iter().map(move |step| (s, step)));
    for (time, (stage, step)) in steps().enumerate() {
        for BufferId(i) in step.buffers() {
            let life = lives[i].get_or_insert([(time, stage); 2]);
            life[1] = (time, stage);
        }
    }
    let (mut block, mut thread) = (Homes::default(), Homes::default());
    let mut buffers = vec![Home::Thread(0); contents.len()];
    for (time, (_, step)) in steps().enumerate() {
        let touched = step.buffers();
        for &BufferId(i) in &touched {
            if let Some([(first, from), (_, to)]) = lives[i]
                && first == time
            {
                let content = contents[i];
                buffers[i] = if keep || from != to {
                    Home::Block(block.take(content))
                } else {
                    Home::Thread(thread.take(content))
                };
            }
        }
        for &BufferId(i) in &touched {
            if !keep && lives[i].is_some_and(|l| l[1].0 == time) {
                match buffers[i] {
                    Home::Block(home) => block.free.push(home),
                    Home::Thread(home) => thread.free.push(home),
                }
            }
        }
    }
    (buffers, block.contents, thread.contents)
}

#[derive(Default)]
struct Homes {
    contents: Vec<Content>,
    free: Vec<usize>,
}

impl Homes {
    fn take(&mut self, content: Content) -> usize {
        if let Some(i) = self.free.iter().position(|&home| self.contents[home] == content) {
            return self.free.swap_remove(i);
        }
        self.contents.push(content);
        self.contents.len() - 1
    }
}
