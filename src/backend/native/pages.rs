//! Memory for the weights of a whole model, on large pages where the system has them. They cause fewer page
//! faults at load and fewer TLB misses in every pass.

use memmap2::MmapMut;

use crate::kernels::Line;

/// Zeroed memory. A map begins at the start of a page.
pub(super) enum Pages {
    Mapped(MmapMut),
    /// On systems without anonymous maps.
    Heap(Vec<Line<[u8; 64]>>),
}

impl Pages {
    pub(super) fn new(lines: usize) -> Self {
        let Ok(map) = MmapMut::map_anon(64 * lines.max(1)) else {
            return Pages::Heap(vec![Line([0; 64]); lines]);
        };
        // The advice may fail, and then the pages are small.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Pages::Mapped(map)
    }

    pub(super) fn as_mut(&mut self) -> &mut [Line<[u8; 64]>] {
        match self {
            Pages::Mapped(map) => bytemuck::cast_slice_mut(map),
            Pages::Heap(lines) => lines,
        }
    }
}

impl AsRef<[Line<[u8; 64]>]> for Pages {
    fn as_ref(&self) -> &[Line<[u8; 64]>] {
        match self {
            Pages::Mapped(map) => bytemuck::cast_slice(map),
            Pages::Heap(lines) => lines,
        }
    }
}
