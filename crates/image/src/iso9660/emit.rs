//! The one description of the layout. It runs twice: the first time only lengths count, the second time bytes flow.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use super::eltorito::{self, Bootable, INFO_TABLE_END};
use super::hybrid::{ESP_ALIGNMENT, PARTITION_BLOCK, Place};
use super::layout::{BLOCK, FIRST_DESCRIPTOR};
use super::plan::{Plan, Space};
use super::volume::{self, Addresses, Numbers};
use super::{Iso, WriteError};
use crate::io::{ReadAt, wide};
use crate::tree::{Content, Contents};

/// Blocks of zeros at the end, for drives that read ahead of the last track (the kernel did on CD-R written
/// track-at-once; mkisofs has padded so since). The backup GPT lies in the last of them.
const PADDING: u64 = 150;

/// Largest boot image that is patched; isolinux.bin has 43 KB.
const LARGEST_BOOT_IMAGE: u64 = 16 << 20;

/// Things with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Catalog,
    PathTable {
        view: ViewId,
        big: bool,
    },
    Dir {
        view: ViewId,
        index: usize,
    },
    /// Start of the file area.
    Data,
    File(usize),
    /// End of the ISO 9660 data.
    DataEnd,
    Esp,
    EspEnd,
    End,
}

/// Which directories, counted from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ViewId {
    joliet: bool,
    /// For the partition rather than the whole disk.
    partition: bool,
}

/// Where everything lies, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(BTreeMap<Mark, u64>);

impl Marks {
    fn at(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or(0)
    }

    fn block(&self, mark: Mark) -> u32 {
        // `Measure::finish` refused images with larger addresses.
        u32::try_from(self.at(mark) / BLOCK).unwrap_or(u32::MAX)
    }

    pub(super) fn size(&self) -> u64 {
        self.at(Mark::End)
    }

    pub(super) fn file(&self, index: usize) -> u64 {
        self.at(Mark::File(index))
    }

    pub(super) fn esp(&self) -> u64 {
        self.at(Mark::Esp)
    }

    pub(super) fn catalog(&self) -> Option<u64> {
        self.0.get(&Mark::Catalog).copied()
    }
}

/// Where `emit` puts things.
pub(super) trait Sink {
    /// Byte at which the next thing goes.
    fn pos(&self) -> u64;
    /// Notes that `mark` starts here.
    fn mark(&mut self, mark: Mark);
    /// Adds `len` bytes. Only the sink that writes asks for them, when every mark is known.
    fn part(
        &mut self,
        len: u64,
        make: &dyn Fn(&Marks) -> Result<Vec<u8>, WriteError>,
    ) -> Result<(), WriteError>;
    /// Adds zeros.
    fn zeros(&mut self, len: u64) -> Result<(), WriteError>;
    /// Adds the bytes of `content`; `path` is for messages. `patch` may change the bytes of a boot image.
    fn content(&mut self, content: &Content, path: &[u8], patch: bool) -> Result<(), WriteError>;
    /// Adds zeros up to a multiple of `alignment`.
    fn align(&mut self, alignment: u64) -> Result<(), WriteError> {
        self.zeros(self.pos().next_multiple_of(alignment) - self.pos())
    }
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Measure {
    pos: u64,
    marks: Marks,
}

impl Measure {
    /// All addresses, if they fit into 32 bits.
    pub(super) fn finish(self) -> Result<Marks, WriteError> {
        u32::try_from(self.pos / BLOCK).map_err(|_| WriteError::TooLarge)?;
        Ok(self.marks)
    }

    fn advance(&mut self, len: u64) -> Result<(), WriteError> {
        self.pos = self.pos.checked_add(len).filter(|pos| *pos < 1 << 44).ok_or(WriteError::TooLarge)?;
        Ok(())
    }
}

impl Sink for Measure {
    fn pos(&self) -> u64 {
        self.pos
    }

    fn mark(&mut self, mark: Mark) {
        self.marks.0.insert(mark, self.pos);
    }

    fn part(
        &mut self,
        len: u64,
        _: &dyn Fn(&Marks) -> Result<Vec<u8>, WriteError>,
    ) -> Result<(), WriteError> {
        self.advance(len)
    }

    fn zeros(&mut self, len: u64) -> Result<(), WriteError> {
        self.advance(len)
    }

    fn content(&mut self, content: &Content, _: &[u8], patch: bool) -> Result<(), WriteError> {
        if patch && !(wide(INFO_TABLE_END)..=LARGEST_BOOT_IMAGE).contains(&content.size) {
            return Err(WriteError::BootImage(content.size));
        }
        self.advance(content.size)
    }
}

/// A content that the output has already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present<W> {
    pub(super) content: Content,
    /// Passes over so many bytes.
    pub(super) pass: fn(&mut W, u64) -> io::Result<()>,
}

/// Writes.
pub(super) struct Writer<'a, W> {
    out: &'a mut W,
    contents: &'a dyn Contents,
    present: Option<Present<W>>,
    marks: &'a Marks,
    pos: u64,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Writer<'a, W> {
    pub(super) fn new(
        out: &'a mut W,
        contents: &'a dyn Contents,
        present: Option<Present<W>>,
        marks: &'a Marks,
    ) -> Self {
        Self { out, contents, present, marks, pos: 0, buffer: vec![0; 1 << 18] }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(WriteError::Output)?;
        self.pos += wide(bytes.len());
        Ok(())
    }

    fn open(&self, content: &Content, path: &[u8]) -> Result<Arc<dyn ReadAt + Send>, WriteError> {
        let failed = |source| WriteError::Content { path: path.to_vec(), source };
        let source = self.contents.open(content).map_err(failed)?;
        let found = source.size().map_err(failed)?;
        if found != content.size {
            return Err(WriteError::Size { path: path.to_vec(), expected: content.size, found });
        }
        Ok(source)
    }
}

impl<W: Write> Sink for Writer<'_, W> {
    fn pos(&self) -> u64 {
        self.pos
    }

    fn mark(&mut self, mark: Mark) {
        assert_eq!(self.marks.at(mark), self.pos, "{mark:?} moved between the passes");
    }

    fn part(
        &mut self,
        len: u64,
        make: &dyn Fn(&Marks) -> Result<Vec<u8>, WriteError>,
    ) -> Result<(), WriteError> {
        let bytes = make(self.marks)?;
        assert_eq!(wide(bytes.len()), len, "a part changed its length between the passes");
        self.put(&bytes)
    }

    fn zeros(&mut self, mut len: u64) -> Result<(), WriteError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while len > 0 {
            let take = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
            self.put(&ZEROS[..take])?;
            len -= wide(take);
        }
        Ok(())
    }

    fn content(&mut self, content: &Content, path: &[u8], patch: bool) -> Result<(), WriteError> {
        if let Some(Present { content: present, pass }) = self.present
            && present == *content
            && !patch
        {
            pass(self.out, content.size).map_err(WriteError::Output)?;
            self.pos += content.size;
            return Ok(());
        }
        let source = self.open(content, path)?;
        let failed = |source| WriteError::Content { path: path.to_vec(), source };
        if patch {
            let size = usize::try_from(content.size).map_err(|_| WriteError::BootImage(content.size))?;
            let mut bytes = vec![0; size];
            source.read_exact_at(&mut bytes, 0).map_err(failed)?;
            let block = u32::try_from(self.pos / BLOCK).map_err(|_| WriteError::TooLarge)?;
            let table = eltorito::info_table(&bytes, block);
            bytes[8..INFO_TABLE_END].copy_from_slice(&table);
            return self.put(&bytes);
        }
        let mut at = 0;
        while at < content.size {
            let mut buffer = std::mem::take(&mut self.buffer);
            let take = usize::try_from(content.size - at).unwrap_or(usize::MAX).min(buffer.len());
            source.read_exact_at(&mut buffer[..take], at).map_err(failed)?;
            let written = self.put(&buffer[..take]);
            self.buffer = buffer;
            written?;
            at += wide(take);
        }
        Ok(())
    }
}

/// Addresses of one view.
struct View<'a> {
    id: ViewId,
    marks: &'a Marks,
}

impl View<'_> {
    /// The block counted from where the view begins.
    fn relative(&self, block: u32) -> u32 {
        let base = if self.id.partition { PARTITION_BLOCK } else { 0 };
        block.saturating_sub(u32::try_from(base).unwrap_or(0))
    }
}

impl Addresses for View<'_> {
    fn dir(&self, index: usize) -> u32 {
        self.relative(self.marks.block(Mark::Dir { view: self.id, index }))
    }

    fn file(&self, index: usize) -> u32 {
        self.relative(self.marks.block(Mark::File(index)))
    }

    fn nothing(&self) -> u32 {
        self.relative(self.marks.block(Mark::Data))
    }
}

/// Everything in the order of the image.
pub(super) fn emit(out: &mut impl Sink, iso: &Iso<'_>, plan: &Plan) -> Result<(), WriteError> {
    let boot_file = plan.files.iter().position(|file| file.boot);
    system_area(out, iso, boot_file)?;
    descriptors(out, iso, plan, false)?;
    if iso.hybrid.is_some() {
        let start = (PARTITION_BLOCK + FIRST_DESCRIPTOR) * BLOCK;
        out.zeros(start - out.pos())?;
        descriptors(out, iso, plan, true)?;
    }
    if iso.bios.is_some() || iso.esp.is_some() {
        catalog(out, iso, boot_file)?;
    }
    for id in views(iso) {
        tables(out, if id.joliet { plan.joliet.as_ref() } else { Some(&plan.primary) }, id)?;
    }
    out.mark(Mark::Data);
    for (index, file) in plan.files.iter().enumerate() {
        out.mark(Mark::File(index));
        let patch = file.boot && iso.bios.is_some_and(|bios| bios.info_table);
        out.content(&file.content, file.paths.first().map_or(b"", |path| path), patch)?;
        out.align(BLOCK)?;
    }
    tail(out, iso, boot_file)
}

/// The views in the order in which their tables lie.
fn views(iso: &Iso<'_>) -> impl Iterator<Item = ViewId> {
    let (joliet, hybrid) = (iso.joliet, iso.hybrid.is_some());
    let all = [(false, false), (true, false), (false, true), (true, true)];
    let wanted = all.into_iter().filter(move |view| (joliet || !view.0) && (hybrid || !view.1));
    wanted.map(|(joliet, partition)| ViewId { joliet, partition })
}

fn place(marks: &Marks, iso: &Iso<'_>, boot_file: Option<usize>) -> Place {
    Place {
        size: marks.size(),
        boot_image: boot_file.map_or(0, |index| marks.file(index)),
        data_end: marks.at(Mark::DataEnd),
        esp: iso.esp.map(|_| (marks.esp(), marks.at(Mark::EspEnd))),
    }
}

fn system_area(out: &mut impl Sink, iso: &Iso<'_>, boot_file: Option<usize>) -> Result<(), WriteError> {
    match &iso.hybrid {
        Some(hybrid) => out.part(32_768, &|marks| hybrid.system_area(&place(marks, iso, boot_file))),
        None => out.zeros(32_768),
    }
}

fn descriptors(out: &mut impl Sink, iso: &Iso<'_>, plan: &Plan, partition: bool) -> Result<(), WriteError> {
    descriptor(out, iso, &plan.primary, ViewId { joliet: false, partition })?;
    // The catalog counts blocks of the medium, so the partition has no use for it.
    if (iso.bios.is_some() || iso.esp.is_some()) && !partition {
        out.part(BLOCK, &|marks| Ok(eltorito::boot_record(marks.block(Mark::Catalog))))?;
    }
    if let Some(joliet) = &plan.joliet {
        descriptor(out, iso, joliet, ViewId { joliet: true, partition })?;
    }
    out.part(BLOCK, &|_| Ok(volume::terminator()))
}

fn descriptor(out: &mut impl Sink, iso: &Iso<'_>, space: &Space, id: ViewId) -> Result<(), WriteError> {
    out.part(BLOCK, &|marks| {
        let view = View { id, marks };
        let table = |big| view.relative(marks.block(Mark::PathTable { view: id, big }));
        let root = &space.dirs[0];
        let numbers = Numbers {
            blocks: view.relative(marks.block(if id.partition { Mark::DataEnd } else { Mark::End })),
            path_table_size: u32::try_from(volume::path_table_size(space))
                .map_err(|_| WriteError::TooLarge)?,
            path_table_l: table(false),
            path_table_m: table(true),
            root: view.dir(0),
            root_size: root.size,
            root_mtime: root.records[0].mtime,
        };
        volume::descriptor(&iso.labels, iso.epoch, &numbers, id.joliet)
    })
}

fn catalog(out: &mut impl Sink, iso: &Iso<'_>, boot_file: Option<usize>) -> Result<(), WriteError> {
    out.mark(Mark::Catalog);
    out.part(BLOCK, &|marks| {
        let mut images = Vec::new();
        if let Some(index) = boot_file {
            let block = marks.block(Mark::File(index));
            images.push(Bootable { platform: eltorito::X86, block, sectors: eltorito::BIOS_SECTORS });
        }
        if let Some(esp) = &iso.esp {
            let sectors = eltorito::esp_sectors(esp.size);
            images.push(Bootable { platform: eltorito::UEFI, block: marks.block(Mark::Esp), sectors });
        }
        Ok(eltorito::catalog(&images))
    })
}

/// Path tables and directories of one view.
fn tables(out: &mut impl Sink, space: Option<&Space>, id: ViewId) -> Result<(), WriteError> {
    let Some(space) = space else { return Ok(()) };
    let size = volume::path_table_size(space).next_multiple_of(BLOCK);
    for big in [false, true] {
        out.mark(Mark::PathTable { view: id, big });
        out.part(size, &|marks| volume::path_table(space, big, &View { id, marks }))?;
    }
    for (index, dir) in space.dirs.iter().enumerate() {
        out.mark(Mark::Dir { view: id, index });
        out.part(volume::directory_size(dir), &|marks| volume::directory(space, index, &View { id, marks }))?;
    }
    Ok(())
}

/// Behind the files: the EFI system partition, padding, and the second copy of the GPT.
fn tail(out: &mut impl Sink, iso: &Iso<'_>, boot_file: Option<usize>) -> Result<(), WriteError> {
    if let Some(esp) = &iso.esp {
        out.align(ESP_ALIGNMENT)?;
        out.mark(Mark::DataEnd);
        out.mark(Mark::Esp);
        out.content(esp, b"the EFI system partition", false)?;
        out.align(BLOCK)?;
        out.mark(Mark::EspEnd);
    } else {
        out.mark(Mark::DataEnd);
    }
    match &iso.hybrid {
        Some(hybrid) => {
            let backup = crate::gpt::TABLE_SECTORS * crate::gpt::SECTOR;
            out.zeros(PADDING * BLOCK - backup)?;
            out.part(backup, &|marks| hybrid.backup(&place(marks, iso, boot_file)))?;
        }
        None => out.zeros(PADDING * BLOCK)?,
    }
    out.mark(Mark::End);
    Ok(())
}
