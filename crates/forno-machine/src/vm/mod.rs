//! Virtual machines: the disk under QEMU, with KVM where it is proven.

mod args;
mod boot;
mod kvm;
mod qmp;

pub(crate) use boot::{Ground, launch};
pub(crate) use kvm::{Memory as KvmMemory, examine as examine_kvm};
