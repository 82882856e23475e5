import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as ours from '../../lib/model/constants.ts'
import { addon } from './addon.ts'

/**
 * The codec's numbers against those of the header that the addon was compiled
 * with, in both directions: none is wrong, and none that matters is missing.
 */

const header = addon.constants

/** Each table of the codec, and what the header puts before its names. */
const TABLES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  IPVS_CMD_: ours.Command,
  IPVS_CMD_ATTR_: ours.CommandAttribute,
  IPVS_SVC_ATTR_: ours.ServiceAttribute,
  IPVS_DEST_ATTR_: ours.DestAttribute,
  IPVS_STATS_ATTR_: ours.StatsAttribute,
  IPVS_DAEMON_ATTR_: ours.DaemonAttribute,
  IPVS_INFO_ATTR_: ours.InfoAttribute,
  IP_VS_SVC_F_: ours.ServiceFlag,
  IP_VS_CONN_F_: ours.ForwardMethod,
  IP_VS_CONN_F_TUNNEL_TYPE_: ours.TunnelType,
  IP_VS_TUNNEL_ENCAP_FLAG_: ours.TunnelFlag,
  IP_VS_STATE_: ours.DaemonState,
}

/** Names of the header that the codec has no number for, and why. */
const LEFT_OUT: readonly RegExp[] = [
  // Never sent: 0, and the end of an enumeration.
  /_UNSPEC$/,
  /^IPVS_\w+_MAX$/,
  /^IP_VS_STATE_NONE$/,
  // Second names of SCHED1 and SCHED2.
  /^IP_VS_SVC_F_SCHED_SH_(FALLBACK|PORT)$/,
  // Lengths, which ranges.ts has, and the version that native.ts sends.
  /_MAXLEN$/,
  /^IPVS_GENL_VERSION$/,
  // Which header it was.
  /^LINUX_VERSION_CODE$/,
]

const known = new Map(
  Object.entries(TABLES).flatMap(([prefix, table]) =>
    Object.entries(table).map(([name, value]): [string, number] => [prefix + name, value]),
  ),
)

describe('numbers of the codec', () => {
  test.each([...known])('%s is %i in the header', (name, value) => {
    expect(header[name]).toBe(value)
  })

  test('AF_* and IPPROTO_* are those of every Linux', () => {
    expect(ours.AddressFamily).toEqual({ INET: 2, INET6: 10 })
    expect(ours.IpProtocol).toEqual({ TCP: 6, UDP: 17, SCTP: 132 })
  })
})

describe('numbers of the header', () => {
  test('are all in the codec, but those with a reason', () => {
    const missing = Object.keys(header).filter(
      (name) => !known.has(name) && !LEFT_OUT.some((reason) => reason.test(name)),
    )
    expect(missing).toEqual([])
  })

  test.each(Object.entries(TABLES).filter(([prefix]) => `${prefix}MAX` in header))(
    'end of %s* is the last of the codec',
    (prefix, table) => {
      expect(Math.max(...Object.values(table))).toBe(header[`${prefix}MAX`])
    },
  )

  test('second names are those of SCHED1 and SCHED2', () => {
    expect(header.IP_VS_SVC_F_SCHED_SH_FALLBACK).toBe(ours.ServiceFlag.SCHED1)
    expect(header.IP_VS_SVC_F_SCHED_SH_PORT).toBe(ours.ServiceFlag.SCHED2)
  })

  test('lengths and version are those that ranges.ts and native.ts have', () => {
    expect(header).toMatchObject({
      IP_VS_SCHEDNAME_MAXLEN: 16,
      IP_VS_IFNAME_MAXLEN: 16,
      IP_VS_PENAME_MAXLEN: 16,
      IPVS_GENL_VERSION: 1,
    })
  })

  const path = '/usr/include/linux/ip_vs.h'
  test.skipIf(!existsSync(path))(`what ${path} enumerates is in the addon`, () => {
    const text = readFileSync(path, 'utf8')
    const enumerators = [...text.matchAll(/^\t(IPVS_\w+|IP_VS_CONN_F_TUNNEL_TYPE_\w+)\b/gm)]
      .map(([, name]) => name as string)
      .filter((name) => !name.endsWith('MAX'))
    expect(enumerators.length).toBeGreaterThan(70)
    expect(enumerators.filter((name) => !(name in header))).toEqual([])
  })
})
