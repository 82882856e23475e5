import { CommandAttribute, DaemonAttribute, DestAttribute, ServiceAttribute } from '../../model/constants.ts'
import type { Feature } from '../machine/versions.ts'
import type { Policy, Rule } from './attributes.ts'

/** The kernel's policies: ip_vs_cmd_policy, ip_vs_svc_policy, ip_vs_dest_policy, ip_vs_daemon_policy. */

const u8: Rule = { kind: 'number', bytes: 1 }
const u16: Rule = { kind: 'number', bytes: 2 }
const u32: Rule = { kind: 'number', bytes: 4 }
const nest: Rule = { kind: 'nest' }
/** union nf_inet_addr */
const address: Rule = { kind: 'binary', most: 16 }

/** Longest names, without the NUL: IP_VS_SCHEDNAME_MAXLEN - 1, IP_VS_PENAME_MAXLEN, IP_VS_IFNAME_MAXLEN - 1. */
const SCHEDULER_BYTES = 15
const ENGINE_BYTES = 16
const INTERFACE_BYTES = 15

export const topPolicy: Policy = new Map<number, Rule>([
  [CommandAttribute.SERVICE, nest],
  [CommandAttribute.DEST, nest],
  [CommandAttribute.DAEMON, nest],
  [CommandAttribute.TIMEOUT_TCP, u32],
  [CommandAttribute.TIMEOUT_TCP_FIN, u32],
  [CommandAttribute.TIMEOUT_UDP, u32],
])

export const servicePolicy: Policy = new Map<number, Rule>([
  [ServiceAttribute.AF, u16],
  [ServiceAttribute.PROTOCOL, u16],
  [ServiceAttribute.ADDR, address],
  [ServiceAttribute.PORT, u16],
  [ServiceAttribute.FWMARK, u32],
  [ServiceAttribute.SCHED_NAME, { kind: 'text', most: SCHEDULER_BYTES }],
  [ServiceAttribute.FLAGS, { kind: 'binary', most: 8 }],
  [ServiceAttribute.TIMEOUT, u32],
  [ServiceAttribute.NETMASK, u32],
  [ServiceAttribute.STATS, nest],
  [ServiceAttribute.PE_NAME, { kind: 'text', most: ENGINE_BYTES }],
])

export const destPolicy: Policy = new Map<number, Rule>([
  [DestAttribute.ADDR, address],
  [DestAttribute.PORT, u16],
  [DestAttribute.FWD_METHOD, u32],
  [DestAttribute.WEIGHT, u32],
  [DestAttribute.U_THRESH, u32],
  [DestAttribute.L_THRESH, u32],
  [DestAttribute.ACTIVE_CONNS, u32],
  [DestAttribute.INACT_CONNS, u32],
  [DestAttribute.PERSIST_CONNS, u32],
  [DestAttribute.STATS, nest],
  [DestAttribute.ADDR_FAMILY, u16],
  [DestAttribute.TUN_TYPE, u8],
  [DestAttribute.TUN_PORT, u16],
  [DestAttribute.TUN_FLAGS, u16],
])

const daemonPolicy: Policy = new Map<number, Rule>([
  [DaemonAttribute.STATE, u32],
  [DaemonAttribute.MCAST_IFN, { kind: 'text', most: INTERFACE_BYTES }],
  [DaemonAttribute.SYNC_ID, u32],
  [DaemonAttribute.SYNC_MAXLEN, u16],
  [DaemonAttribute.MCAST_GROUP, u32],
  [DaemonAttribute.MCAST_GROUP6, { kind: 'least', least: 16 }],
  [DaemonAttribute.MCAST_PORT, u16],
  [DaemonAttribute.MCAST_TTL, u8],
])

export interface Policies {
  readonly dest: Policy
  readonly daemon: Policy
}

/** Attributes that not every kernel knows, and the features that brought them. A kernel skips unknown attributes. */
const LATER: Readonly<Record<keyof Policies, ReadonlyMap<number, Feature>>> = {
  dest: new Map<number, Feature>([
    [DestAttribute.ADDR_FAMILY, 'mixedFamilies'],
    [DestAttribute.TUN_TYPE, 'tunnelTypes'],
    [DestAttribute.TUN_PORT, 'tunnelTypes'],
    [DestAttribute.TUN_FLAGS, 'tunnelFlags'],
  ]),
  daemon: new Map<number, Feature>([
    [DaemonAttribute.SYNC_MAXLEN, 'daemonSettings'],
    [DaemonAttribute.MCAST_GROUP, 'daemonSettings'],
    [DaemonAttribute.MCAST_GROUP6, 'daemonSettings'],
    [DaemonAttribute.MCAST_PORT, 'daemonSettings'],
    [DaemonAttribute.MCAST_TTL, 'daemonSettings'],
  ]),
}

/** The policies of a kernel that has these features. */
export function policiesOf(features: ReadonlySet<Feature>): Policies {
  const known = (policy: Policy, later: ReadonlyMap<number, Feature>): Policy =>
    new Map(
      [...policy].filter(([type]) => {
        const feature = later.get(type)
        return feature === undefined || features.has(feature)
      }),
    )
  return { dest: known(destPolicy, LATER.dest), daemon: known(daemonPolicy, LATER.daemon) }
}
