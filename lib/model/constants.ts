/**
 * The numbers of <linux/ip_vs.h>. test/native/constants.test.ts compares each
 * with the header that the addon was compiled with; the names are the header's
 * without their common prefix.
 */

/** IPVS_CMD_*: what a message asks for, or answers with. */
export const Command = {
  NEW_SERVICE: 1,
  SET_SERVICE: 2,
  DEL_SERVICE: 3,
  GET_SERVICE: 4,
  NEW_DEST: 5,
  SET_DEST: 6,
  DEL_DEST: 7,
  GET_DEST: 8,
  NEW_DAEMON: 9,
  DEL_DAEMON: 10,
  GET_DAEMON: 11,
  SET_CONFIG: 12,
  GET_CONFIG: 13,
  SET_INFO: 14,
  GET_INFO: 15,
  ZERO: 16,
  FLUSH: 17,
} as const

/** IPVS_CMD_ATTR_*: top-level attributes. A reply to GET_INFO has InfoAttribute instead, of the same numbers. */
export const CommandAttribute = {
  SERVICE: 1,
  DEST: 2,
  DAEMON: 3,
  TIMEOUT_TCP: 4,
  TIMEOUT_TCP_FIN: 5,
  TIMEOUT_UDP: 6,
} as const

/** IPVS_SVC_ATTR_* */
export const ServiceAttribute = {
  AF: 1,
  PROTOCOL: 2,
  ADDR: 3,
  PORT: 4,
  FWMARK: 5,
  SCHED_NAME: 6,
  FLAGS: 7,
  TIMEOUT: 8,
  NETMASK: 9,
  STATS: 10,
  PE_NAME: 11,
  STATS64: 12,
} as const

/** IPVS_DEST_ATTR_* */
export const DestAttribute = {
  ADDR: 1,
  PORT: 2,
  FWD_METHOD: 3,
  WEIGHT: 4,
  U_THRESH: 5,
  L_THRESH: 6,
  ACTIVE_CONNS: 7,
  INACT_CONNS: 8,
  PERSIST_CONNS: 9,
  STATS: 10,
  ADDR_FAMILY: 11,
  STATS64: 12,
  TUN_TYPE: 13,
  TUN_PORT: 14,
  TUN_FLAGS: 15,
} as const

/** IPVS_STATS_ATTR_*, of STATS and of STATS64. */
export const StatsAttribute = {
  CONNS: 1,
  INPKTS: 2,
  OUTPKTS: 3,
  INBYTES: 4,
  OUTBYTES: 5,
  CPS: 6,
  INPPS: 7,
  OUTPPS: 8,
  INBPS: 9,
  OUTBPS: 10,
  PAD: 11,
} as const

/** IPVS_DAEMON_ATTR_* */
export const DaemonAttribute = {
  STATE: 1,
  MCAST_IFN: 2,
  SYNC_ID: 3,
  SYNC_MAXLEN: 4,
  MCAST_GROUP: 5,
  MCAST_GROUP6: 6,
  MCAST_PORT: 7,
  MCAST_TTL: 8,
} as const

/** IPVS_INFO_ATTR_* */
export const InfoAttribute = { VERSION: 1, CONN_TAB_SIZE: 2 } as const

/** IP_VS_SVC_F_*: bits of IPVS_SVC_ATTR_FLAGS. HASHED is the kernel's own. */
export const ServiceFlag = {
  PERSISTENT: 0x0001,
  HASHED: 0x0002,
  ONEPACKET: 0x0004,
  SCHED1: 0x0008,
  SCHED2: 0x0010,
  SCHED3: 0x0020,
} as const

/** IP_VS_CONN_F_*: values of IPVS_DEST_ATTR_FWD_METHOD, which has three bits. */
export const ForwardMethod = { MASQ: 0, LOCALNODE: 1, TUNNEL: 2, DROUTE: 3, BYPASS: 4, FWD_MASK: 7 } as const

/** IP_VS_CONN_F_TUNNEL_TYPE_* */
export const TunnelType = { IPIP: 0, GUE: 1, GRE: 2 } as const

/** IP_VS_TUNNEL_ENCAP_FLAG_* */
export const TunnelFlag = { NOCSUM: 0, CSUM: 1, REMCSUM: 2 } as const

/** IP_VS_STATE_* */
export const DaemonState = { MASTER: 1, BACKUP: 2 } as const

/** AF_INET and AF_INET6 of Linux (<linux/socket.h>). */
export const AddressFamily = { INET: 2, INET6: 10 } as const

/** IPPROTO_* of <linux/in.h>. */
export const IpProtocol = { TCP: 6, UDP: 17, SCTP: 132 } as const
