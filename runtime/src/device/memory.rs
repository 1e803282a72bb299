//! Memory of a device that has an owner.

use std::sync::Arc;

use super::{Device, Stream};
use crate::error::Result;

/// Memory on a device, in the order of a stream: it is there for what is put on the stream after this is made, and given
/// back after what is on it when this is dropped.
#[derive(Debug)]
pub struct DeviceBuffer {
    device: Arc<dyn Device>,
    stream: Stream,
    address: u64,
    bytes: u64,
}

impl DeviceBuffer {
    /// So many bytes, with whatever lies there; `what` is what messages call them.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(device: &Arc<dyn Device>, what: &str, bytes: u64, stream: Stream) -> Result<DeviceBuffer> {
        let address = device.alloc(what, bytes, stream)?;
        Ok(DeviceBuffer { device: device.clone(), stream, address, bytes })
    }

    /// These bytes.
    ///
    /// # Errors
    /// When there is no room, or they cannot be copied.
    pub fn upload(
        device: &Arc<dyn Device>,
        what: &str,
        bytes: &[u8],
        stream: Stream,
    ) -> Result<DeviceBuffer> {
        let mut buffer = DeviceBuffer::new(device, what, bytes.len() as u64, stream)?;
        buffer.write(bytes)?;
        Ok(buffer)
    }

    /// Where it is on the device, a multiple of 256.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Replaces all of it, and waits until that is done.
    ///
    /// # Errors
    /// When they cannot be copied.
    ///
    /// # Panics
    /// Where there is another number of bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        assert_eq!(bytes.len() as u64, self.bytes, "all of a buffer is written");
        // SAFETY: the memory is this buffer's, and has so many bytes.
        unsafe { self.device.write(self.address, bytes, self.stream) }
    }

    /// Copies all of it back once its stream has come so far.
    ///
    /// # Errors
    /// When it cannot be copied, or what was put on the stream before failed.
    ///
    /// # Panics
    /// Where there is room for another number of bytes.
    pub fn read(&self, into: &mut [u8]) -> Result<()> {
        assert_eq!(into.len() as u64, self.bytes, "all of a buffer is read");
        // SAFETY: as for `write`.
        unsafe { self.device.read(self.address, into, self.stream) }
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: `alloc` gave it; who launches kernels on other streams keeps it until they have ended.
        unsafe { self.device.free(self.address, self.stream) };
    }
}
