/**
 * Ranges, choices and lengths of the fields of a state: those that validate.ts
 * checks, and from which state.schema.json is generated.
 */

/** The least and the largest whole number. */
export type Range = readonly [number, number]

export const PORT: Range = [0, 65535]
export const PROTOCOL: Range = [0, 65535]
export const FWMARK: Range = [1, 0xffffffff]
/** `int` of the kernel: weights. */
export const INT: Range = [0, 2147483647]
/** floor((2^32 - 1) / 1000): the kernel keeps seconds times HZ in 32 bits, and HZ is at most 1000. */
export const PERSISTENCE_MAX_SECONDS = 4294967
export const PREFIX_IPV4: Range = [0, 32]
export const PREFIX_IPV6: Range = [1, 128]
export const TUNNEL_TYPE: Range = [0, 255]
export const CHECKSUM: Range = [0, 65535]
/** A tunnel of another type may have port 0, which is none. */
export const GUE_PORT: Range = [1, 65535]
/** floor(INT_MAX / 100): HZ is at least 100. A kernel with more answers EINVAL to less. */
export const TIMEOUT_SECONDS: Range = [1, 21474836]
export const MULTICAST_PAYLOAD_BYTES: Range = [1, 65507]
export const MULTICAST_PORT: Range = [1, 65535]
export const MULTICAST_TTL: Range = [1, 255]

/** IP_VS_SCHEDNAME_MAXLEN and IP_VS_IFNAME_MAXLEN (16) have room for a NUL, IP_VS_PENAME_MAXLEN is without it. */
export const NAME_MAX_BYTES = 15
export const ENGINE_NAME_MAX_BYTES = 16

export const FAMILIES: readonly ['ipv4', 'ipv6'] = ['ipv4', 'ipv6']
export const METHODS: readonly unknown[] = ['masquerade', 'tunnel', 'direct', 'local', 'bypass', 5, 6, 7]
/** Each at the place that is its number in the kernel, and so are the checksums. */
export const TUNNEL_TYPES: readonly ['ipip', 'gue', 'gre'] = ['ipip', 'gue', 'gre']
export const CHECKSUMS: readonly ['none', 'csum', 'remcsum'] = ['none', 'csum', 'remcsum']
export const DAEMON_STATES: readonly ['master', 'backup'] = ['master', 'backup']

/** Patterns of a sysctl's name and value. */
export const SYSCTL_NAME = '^[a-z][a-z0-9_]*$'
export const SYSCTL_VALUE = '^[\\t -~]*$'
/** proc_sys_call_handler() answers ENOMEM from KMALLOC_MAX_SIZE on, which is 4 MiB with pages of 4 KiB. */
export const SYSCTL_MAX_LENGTH = 4_194_303

/** Names of schedulers and engines, which become names of kernel modules that root loads. */
export const MODULE_NAME = '^[A-Za-z0-9_-]+$'
/** Names of network interfaces, as dev_valid_name() has them. */
export const INTERFACE_NAME = '^(?!\\.{1,2}$)[^\\s/:]+$'

/** The limits that are not the same for everybody. */
export interface Limits {
  /** Of `persistence.timeoutSeconds`. */
  readonly persistenceSeconds: Range
  /** Whether a service may have port 0 without persistence, with which it does nothing. */
  readonly portZeroAlone: boolean
  /** Whether flags of a service may be numbers: bits without a name. */
  readonly unnamedFlags: boolean
  /** Of `upperThreshold` and `lowerThreshold`. */
  readonly threshold: Range
  readonly syncId: Range
  /** Whether names may be anything: those of a state are checked when they are written. */
  readonly anyName: boolean
}

/** Limits of a caller's spec: values that work on every kernel. */
export const SPEC_LIMITS: Limits = {
  persistenceSeconds: [0, PERSISTENCE_MAX_SECONDS],
  portZeroAlone: false,
  unnamedFlags: false,
  threshold: INT,
  syncId: [0, 255],
  anyName: false,
}

/** Limits of a state, which may say everything that some kernel can hold. */
export const STATE_LIMITS: Limits = {
  /** floor((2^32 - 1) / 100): HZ is at least 100. Kernels with more wrap. */
  persistenceSeconds: [0, 42949672],
  portZeroAlone: true,
  unnamedFlags: true,
  /** Up to Linux 6.1; 6.12 answers EINVAL from 2^31 on. */
  threshold: [0, 0xffffffff],
  /** Eight of its bits travel. */
  syncId: [0, 0xffffffff],
  anyName: true,
}

/** Bits of a service's flags that have no name in <linux/ip_vs.h>, those above IP_VS_SVC_F_SCHED3: multiples of the least. */
export const UNNAMED_FLAGS: Range = [64, 0xffffffc0]
