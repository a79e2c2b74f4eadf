//! Cuts the rows of a batch into blocks, and assigns each sequence a place for its keys and values.

use crate::text::Batch;

/// Consecutive rows that one thread carries through a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Block {
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Its segments, as a range of [`Layout::segments`].
    segments: (usize, usize),
}

/// The part of a sequence that lies in a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    pub(super) sequence: usize,
    /// Its first token, counted from the start of the sequence: a multiple of 16.
    pub(super) token: usize,
    /// Its first row, counted from the start of the block.
    pub(super) row: usize,
    pub(super) rows: usize,
}

/// The part of the buffers for keys and values that belongs to a sequence, in strips of sixteen tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slots {
    pub(super) first: usize,
    pub(super) strips: usize,
    pub(super) tokens: usize,
}

impl Slots {
    /// The index of the first strip of a head. Within a sequence the heads follow each other.
    pub(super) fn head(&self, head: usize, heads: usize) -> usize {
        self.first * heads + head * self.strips
    }
}

/// The blocks of one batch. The vectors are reused from call to call.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) blocks: Vec<Block>,
    segments: Vec<Segment>,
    pub(super) sequences: Vec<Slots>,
}

/// Rows at which a sequence may be cut. A line holds the keys of sixteen tokens, and no line may belong to
/// two blocks.
const ALIGNMENT: usize = 16;

impl Layout {
    /// Cuts a batch into blocks of at most `limit` rows, a multiple of 16.
    pub(super) fn fill(&mut self, batch: &Batch, limit: usize) {
        self.blocks.clear();
        self.segments.clear();
        self.sequences.clear();
        let (mut row, mut strip) = (0, 0);
        let mut block = Block { first: 0, rows: 0, segments: (0, 0) };
        for sequence in 0..batch.sequences() {
            let tokens = batch.range(sequence).len();
            let strips = tokens.div_ceil(ALIGNMENT);
            self.sequences.push(Slots { first: strip, strips, tokens });
            strip += strips;
            let mut token = 0;
            while token < tokens {
                let (left, room) = (tokens - token, limit - block.rows);
                let rows = if left <= room { left } else { room / ALIGNMENT * ALIGNMENT };
                if rows > 0 {
                    self.segments.push(Segment { sequence, token, row: block.rows, rows });
                    block.rows += rows;
                    block.segments.1 = self.segments.len();
                    token += rows;
                    row += rows;
                }
                if token < tokens {
                    self.blocks.push(block);
                    block =
                        Block { first: row, rows: 0, segments: (self.segments.len(), self.segments.len()) };
                }
            }
        }
        if block.rows > 0 {
            self.blocks.push(block);
        }
    }

    pub(super) fn segments(&self, block: &Block) -> &[Segment] {
        &self.segments[block.segments.0..block.segments.1]
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.segments) + size_of_val(&*self.sequences)
    }

    /// Number of strips of all sequences.
    pub(super) fn strips(&self) -> usize {
        self.sequences.last().map_or(0, |s| s.first + s.strips)
    }

    /// The block of a row, and the row's index within it.
    pub(super) fn find(&self, row: usize) -> (usize, usize) {
        let block = self.blocks.partition_point(|b| b.first + b.rows <= row);
        (block, row - self.blocks[block].first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_and_cut_sequences_at_strips() {
        let mut layout = Layout::default();
        for lengths in [vec![1], vec![16], vec![17, 3], vec![5, 100, 64, 1, 1, 33], vec![384]] {
            for limit in [16, 32, 64] {
                let mut batch = Batch::new();
                for &n in &lengths {
                    batch.push(&vec![1; n], &vec![0; n]).unwrap();
                }
                layout.fill(&batch, limit);
                let mut row = 0;
                for block in &layout.blocks {
                    assert_eq!(block.first, row);
                    assert!(block.rows > 0 && block.rows <= limit, "{lengths:?} {limit}: {block:?}");
                    let mut within = 0;
                    for s in layout.segments(block) {
                        assert_eq!((s.row, s.token % 16), (within, 0));
                        assert_eq!(batch.range(s.sequence).start + s.token, row + within);
                        within += s.rows;
                    }
                    assert_eq!(within, block.rows);
                    assert_eq!(layout.find(row), (layout.blocks.iter().position(|b| b == block).unwrap(), 0));
                    row += block.rows;
                }
                assert_eq!(row, batch.tokens());
                assert_eq!(layout.strips(), lengths.iter().map(|n| n.div_ceil(16)).sum::<usize>());
            }
        }
    }
}
