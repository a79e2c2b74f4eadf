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
    /// Its first token, counted from the start of the sequence: a multiple of 4, and of 16 in batches whose
    /// blocks hold a multiple of 16 rows.
    pub(super) token: usize,
    /// Its first row, counted from the start of the block.
    pub(super) row: usize,
    pub(super) rows: usize,
}

impl Segment {
    /// Whether no other segment of the sequence, which has this many tokens, has tokens in its strips.
    pub(super) fn owns_its_strips(&self, tokens: usize) -> bool {
        let end = self.token + self.rows;
        self.token.is_multiple_of(STRIP) && (end.is_multiple_of(STRIP) || end == tokens)
    }

    /// Its parts, each in one strip.
    pub(super) fn parts(&self) -> impl Iterator<Item = Self> + use<> {
        let Self { sequence, token, row, rows } = *self;
        let mut next = token;
        std::iter::from_fn(move || {
            let start = next;
            next = (start / STRIP * STRIP + STRIP).min(token + rows);
            (start < next).then_some(Self {
                sequence,
                token: start,
                row: row + start - token,
                rows: next - start,
            })
        })
    }
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

/// Tokens of a strip. Blocks that begin and end with a strip need not share its lines with others.
const STRIP: usize = 16;

/// Tokens of a line of values, which belongs to one block.
pub(super) const FEWEST: usize = 4;

impl Layout {
    /// Cuts a batch into blocks of at most `limit` rows, a multiple of 4. Sequences are cut at multiples of 16
    /// tokens if the limit is one, else of 4.
    pub(super) fn fill(&mut self, batch: &Batch, limit: usize) {
        let alignment = if limit.is_multiple_of(STRIP) { STRIP } else { FEWEST };
        self.blocks.clear();
        self.segments.clear();
        self.sequences.clear();
        let (mut row, mut strip) = (0, 0);
        let mut block = Block { first: 0, rows: 0, segments: (0, 0) };
        for sequence in 0..batch.sequences() {
            let tokens = batch.range(sequence).len();
            let strips = tokens.div_ceil(STRIP);
            self.sequences.push(Slots { first: strip, strips, tokens });
            strip += strips;
            let mut token = 0;
            while token < tokens {
                let (left, room) = (tokens - token, limit - block.rows);
                let rows = if left <= room { left } else { room / alignment * alignment };
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
    fn blocks_cover_all_rows_and_cut_sequences_where_they_may() {
        let mut layout = Layout::default();
        for lengths in [vec![1], vec![16], vec![17, 3], vec![5, 100, 64, 1, 1, 33], vec![384]] {
            for (limit, aligned) in [(4, 4), (8, 4), (12, 4), (16, 16), (20, 4), (32, 16), (64, 16)] {
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
                        assert_eq!((s.row, s.token % aligned), (within, 0));
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

    #[test]
    fn a_segment_has_its_parts_strip_by_strip() {
        let segment = Segment { sequence: 2, token: 12, row: 3, rows: 25 };
        let parts: Vec<_> = segment.parts().map(|s| (s.sequence, s.token, s.row, s.rows)).collect();
        assert_eq!(parts, [(2, 12, 3, 4), (2, 16, 7, 16), (2, 32, 23, 5)]);
        assert!(!segment.owns_its_strips(37));
        let first = Segment { token: 0, rows: 8, ..segment };
        assert!(first.owns_its_strips(8) && !first.owns_its_strips(9));
        assert_eq!(first.parts().count(), 1);
        assert!(Segment { token: 32, rows: 16, ..segment }.owns_its_strips(64));
        assert!(!Segment { token: 8, rows: 8, ..segment }.owns_its_strips(16));
    }
}
