/**
 * Ranges, choices and lengths of the fields of a state: those that validate.ts
 * checks, and from which state.schema.json is generated.
 */

/** The least and the largest whole number. */
export type Range = readonly [number, number]

export const PORT: Range = [0, 65535]
export const PROTOCOL: Range = [0, 65535]
export const FWMARK: Range = [1, 0xffffffff]
/** `int` of the kernel: weights and thresholds. */
export const INT: Range = [0, 2147483647]
/** floor((2^32 - 1) / 1000): the kernel keeps seconds times HZ in 32 bits, and HZ is at most 1000. */
export const PERSISTENCE_MAX_SECONDS = 4294967
export const PERSISTENCE_SECONDS: Range = [0, PERSISTENCE_MAX_SECONDS]
export const PREFIX_IPV4: Range = [0, 32]
export const PREFIX_IPV6: Range = [1, 128]
export const TUNNEL_TYPE: Range = [0, 255]
/** IP_VS_CONN_F_TUNNEL_TYPE_GUE alone needs a port. */
export const GUE_PORT: Range = [1, 65535]
export const CHECKSUM: Range = [0, 65535]
/** floor(INT_MAX / 100): HZ is at least 100. A kernel with more answers EINVAL to less. */
export const TIMEOUT_SECONDS: Range = [1, 21474836]
export const SYNC_ID: Range = [0, 255]
export const MULTICAST_PAYLOAD_BYTES: Range = [1, 65507]
export const MULTICAST_PORT: Range = [1, 65535]
export const MULTICAST_TTL: Range = [1, 255]

/** IP_VS_SCHEDNAME_MAXLEN and IP_VS_IFNAME_MAXLEN (16) have room for a NUL, IP_VS_PENAME_MAXLEN is without it. */
export const NAME_MAX_BYTES = 15
export const ENGINE_NAME_MAX_BYTES = 16

export const PROTOCOLS: readonly string[] = ['tcp', 'udp', 'sctp']
export const FAMILIES: readonly ['ipv4', 'ipv6'] = ['ipv4', 'ipv6']
export const METHODS: readonly unknown[] = ['masquerade', 'tunnel', 'direct', 'local', 'bypass', 5, 6, 7]
export const SCHEDULER_FLAGS: readonly unknown[] = [
  'flag-1',
  'flag-2',
  'flag-3',
  'sh-fallback',
  'sh-port',
  'mh-fallback',
  'mh-port',
]
export const TUNNEL_TYPES: readonly string[] = ['ipip', 'gue', 'gre']
export const CHECKSUMS: readonly string[] = ['none', 'csum', 'remcsum']
export const DAEMON_STATES: readonly ['master', 'backup'] = ['master', 'backup']

/** Patterns of a sysctl's name and value. */
export const SYSCTL_NAME = '^[a-z][a-z0-9_]*$'
export const SYSCTL_VALUE = '^[\\t -~]*$'
