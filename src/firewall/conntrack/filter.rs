//! Filter: which messages may wake the tracker's thread.
//!
//! Lives here: the program that the kernel runs on each message before it queues it, pure. Not here: attaching it
//! (`tracker`).
//!
//! In the assembler of `tools/bpf/bpf_asm` in the kernel's sources, where `nlattr` finds the attribute `x` of the message
//! from offset `a` on and `nlattr_nest` the attribute `x` inside the attribute at offset `a`, 0 if there is none:
//!
//! ```text
//!         ld  #20                     ; behind nlmsghdr and nfgenmsg
//!         ldx #8                      ; CTA_MARK
//!         ldb [nlattr]
//!         jeq #0, drop                ; a mark of 0 is left out
//!         tax
//!         ld  [x + 4]
//!         and #MASK
//!         jeq #MARK, ours, drop
//! ours:   ldh [4]                     ; nlmsg_type
//!         jeq #IPCTNL_MSG_CT_DELETE, pass
//!         ldh [6]                     ; nlmsg_flags
//!         jset #NLM_F_CREATE, pass    ; a new connection
//!         ld  #20                     ; a change: only of the TCP state, and only to one of three
//!         ldx #4                      ; CTA_PROTOINFO
//!         ldb [nlattr]
//!         jeq #0, drop
//!         ldx #1                      ; CTA_PROTOINFO_TCP
//!         ldb [nlattr_nest]
//!         jeq #0, drop
//!         ldx #1                      ; CTA_PROTOINFO_TCP_STATE
//!         ldb [nlattr_nest]
//!         jeq #0, drop
//!         tax
//!         ldb [x + 4]
//!         jeq #3, pass                ; ESTABLISHED
//!         jeq #7, pass                ; TIME_WAIT
//!         jeq #8, pass                ; CLOSE
//! drop:   ret #0
//! pass:   ret #0xffffffff
//! ```
//!
//! That is the program for every message. The other one lets no ESTABLISHED pass, and of deletions only those of connections
//! whose state, found in the same way, is neither TIME_WAIT nor CLOSE.
//!
//! Sources: `include/uapi/linux/filter.h`, `bpf_common.h`; `Documentation/networking/filter.rst`.

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    /// How many instructions to skip if the comparison holds.
    pub(super) if_true: u8,
    /// How many if not.
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

/// `BPF_LD | BPF_IMM`, `BPF_LDX | BPF_IMM`.
const LOAD: u16 = 0x00;
const LOAD_X: u16 = 0x01;
/// `BPF_LD | BPF_H | BPF_ABS`, and for bytes.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// `BPF_LD | BPF_W | BPF_IND`, and for bytes.
const LOAD_WORD_AT_X: u16 = 0x40;
const LOAD_BYTE_AT_X: u16 = 0x50;
/// `BPF_MISC | BPF_TAX`.
const COPY_TO_X: u16 = 0x07;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JSET | BPF_K`.
const IF_ANY_BIT: u16 = 0x45;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// `SKF_AD_OFF + SKF_AD_NLATTR`.
const FIND: u32 = 0xffff_f000 + 12;
/// `SKF_AD_OFF + SKF_AD_NLATTR_NEST`.
const FIND_INSIDE: u32 = 0xffff_f000 + 16;

/// `enum tcp_conntrack`.
const ESTABLISHED: u32 = 3;
const TIME_WAIT: u32 = 7;
const CLOSE: u32 = 8;

/// Where the attributes begin.
const ATTRIBUTES: u32 = 20;

/// The program for messages of the connections with this mark. `every`: also of
/// what follows from others: that both ends have agreed, and that one is forgotten which had closed.
pub(super) fn program(mark: u32, mask: u32, every: bool) -> Vec<Instruction> {
    // A half word of `nlmsghdr` is in host order, and the machine loads it as if it were in network order.
    let as_loaded = |number: u16| u32::from(u16::from_be(number));
    let (delete, create) = (as_loaded(0x0102), as_loaded(0x0400));
    // The state of TCP, or a jump to where its absence leads.
    let state = |absent| {
        [
            (LOAD, Next, ATTRIBUTES),
            (LOAD_X, Next, 4),
            (LOAD_BYTE, Next, FIND),
            (IF_EQUAL, absent, 0),
            (LOAD_X, Next, 1),
            (LOAD_BYTE, Next, FIND_INSIDE),
            (IF_EQUAL, absent, 0),
            (LOAD_X, Next, 1),
            (LOAD_BYTE, Next, FIND_INSIDE),
            (IF_EQUAL, absent, 0),
            (COPY_TO_X, Next, 0),
            (LOAD_BYTE_AT_X, Next, 4),
        ]
    };
    let mut steps = vec![
        (LOAD, Next, ATTRIBUTES),
        (LOAD_X, Next, 8),
        (LOAD_BYTE, Next, FIND),
        (IF_EQUAL, Drop, 0),
        (COPY_TO_X, Next, 0),
        (LOAD_WORD_AT_X, Next, 4),
        (AND, Next, mask),
        (IF_EQUAL, ElseDrop, mark),
        (LOAD_HALF, Next, 4),
    ];
    if every {
        steps.push((IF_EQUAL, Pass, delete));
    } else {
        // What was told to have closed need not be told to be gone. Kernels before Linux 5.12 do not say.
        let gone = state(Pass);
        steps.push((IF_EQUAL, ElseSkip(gone.len() as u8 + 3), delete));
        steps.extend(gone);
        steps.extend([(IF_EQUAL, Drop, TIME_WAIT), (IF_EQUAL, Drop, CLOSE), (IF_EQUAL, PassBoth, 0)]);
    }
    steps.extend([(LOAD_HALF, Next, 6), (IF_ANY_BIT, Pass, create)]);
    steps.extend(state(Drop));
    steps.extend([
        (IF_EQUAL, Pass, if every { ESTABLISHED } else { TIME_WAIT }),
        (IF_EQUAL, Pass, TIME_WAIT),
        (IF_EQUAL, Pass, CLOSE),
    ]);
    // Jumps to the end are written as how far it is: the last two instructions are `drop` and `pass`.
    let to_drop = (0..steps.len() as u8).rev();
    let mut program: Vec<_> = steps
        .into_iter()
        .zip(to_drop)
        .map(|((code, target, operand), to_drop)| {
            let (if_true, if_false) = match target {
                Next => (0, 0),
                Drop => (to_drop, 0),
                ElseDrop => (0, to_drop),
                ElseSkip(steps) => (0, steps),
                Pass => (to_drop + 1, 0),
                PassBoth => (to_drop + 1, to_drop + 1),
            };
            Instruction { code, if_true, if_false, operand }
        })
        .collect();
    for operand in [0, u32::MAX] {
        program.push(Instruction { code: RETURN, if_true: 0, if_false: 0, operand });
    }
    program
}

use Target::{Drop, ElseDrop, ElseSkip, Next, Pass, PassBoth};

/// Where an instruction leads to.
#[derive(Clone, Copy)]
enum Target {
    /// To the one behind it.
    Next,
    /// If the comparison holds, to the one that drops the message.
    Drop,
    /// If it does not, to that one.
    ElseDrop,
    /// If it does not, so many steps further.
    ElseSkip(u8),
    /// If it holds, to the one that lets the message pass.
    Pass,
    /// There in any case.
    PassBoth,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_the_end() {
        let program = program(0x1000_0000, 0x1000_0000, true);
        assert_eq!(program.len(), 29);
        for (at, step) in program.iter().enumerate().filter(|(_, step)| step.code & 0x07 == 0x05) {
            let far = step.if_true.max(step.if_false);
            let reached = program[at + 1 + usize::from(far)];
            assert_eq!(reached.code, RETURN, "the jump at {at}");
            let passes = [IF_ANY_BIT].contains(&step.code) || step.operand > 0 && step.if_true > 0;
            assert_eq!(reached.operand == u32::MAX, passes, "the jump at {at}");
        }
    }
}
