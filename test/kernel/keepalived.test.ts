import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { guestTests, withNamespaces } from '../helpers/kernel.ts'
import { startEcho } from '../helpers/kernel-traffic.ts'
import { until } from '../helpers/until.ts'

/** What the table of docs/beside-keepalived.md says of keepalived, and its commands do not show. */

/** A service with one server that answers, and one that does not. */
const configuration = (server = ''): string => `
virtual_server 192.0.2.10 80 {
    delay_loop 1
    lb_algo wrr
    lb_kind NAT
    protocol TCP
    retry 0
    real_server 10.0.0.7 8080 {
        weight 3
        TCP_CHECK {
            connect_timeout 1
        }
    }
    real_server 10.0.0.7 8081 {
        weight 1
        ${server}
        TCP_CHECK {
            connect_timeout 1
        }
    }
}
`

const VRRP = `
vrrp_instance directors {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 100
    advert_int 1
    virtual_ipaddress {
        192.0.2.10/32
    }
}
`

const SERVICE = '-A -t 192.0.2.10:80 -s wrr\n'
const LIVE = '-a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 3\n'
const OTHER = '-A -t 192.0.2.99:80 -s rr\n'

interface Case {
  readonly lines?: readonly string[]
  readonly text: string
  readonly args?: readonly string[]
  /** The command whose output is compared. Default: `ipvsadm -Sn`. */
  readonly look?: readonly string[]
  readonly started: string
  readonly stopped: string
}

const CASES: Readonly<Record<string, Case>> = {
  'a dead server is removed; services of others stay': {
    text: configuration(),
    started: SERVICE + LIVE + OTHER,
    stopped: OTHER,
  },
  'a dead server has weight 0 with inhibit_on_failure': {
    text: configuration('inhibit_on_failure'),
    started: `${SERVICE}${LIVE}-a -t 192.0.2.10:80 -r 10.0.0.7:8081 -m -w 0\n${OTHER}`,
    stopped: OTHER,
  },
  'a service that exists keeps its scheduler and servers, and is deleted at the stop': {
    lines: ['-A -t 192.0.2.10:80 -s rr', '-a -t 192.0.2.10:80 -r 10.0.0.99:80 -m'],
    text: configuration(),
    started: `-A -t 192.0.2.10:80 -s rr\n${LIVE}-a -t 192.0.2.10:80 -r 10.0.0.99:80 -m -w 1\n${OTHER}`,
    stopped: OTHER,
  },
  'lvs_flush empties the table at the start': {
    text: `global_defs {\n    lvs_flush\n}${configuration()}`,
    started: SERVICE + LIVE,
    stopped: '',
  },
  'lvs_flush_on_stop empties the table at the stop': {
    text: `global_defs {\n    lvs_flush_on_stop\n}${configuration()}`,
    started: SERVICE + LIVE + OTHER,
    stopped: '',
  },
  '--dont-release-ipvs leaves the services': {
    text: configuration(),
    args: ['--dont-release-ipvs'],
    started: SERVICE + LIVE + OTHER,
    stopped: SERVICE + LIVE + OTHER,
  },
  'lvs_timeouts are set, and restored': {
    text: `global_defs {\n    lvs_timeouts tcp 100 tcpfin 20 udp 30\n}${configuration()}`,
    look: ['ipvsadm', '-L', '--timeout'],
    started: 'Timeout (tcp tcpfin udp): 100 20 30\n',
    stopped: 'Timeout (tcp tcpfin udp): 900 120 300\n',
  },
  'lvs_sync_daemon follows VRRP': {
    text: `global_defs {\n    lvs_sync_daemon eth0 directors id 5\n}${VRRP}${configuration()}`,
    look: ['ipvsadm', '-L', '--daemon'],
    started: 'master sync daemon (mcast=eth0, syncid=5, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n',
    stopped: '',
  },
}

guestTests('keepalived', 'keepalived', () => {
  test.each(Object.entries(CASES))('%s', async (_, each) => {
    const folder = mkdtempSync(join(tmpdir(), 'ipvs-keepalived-'))
    const file = join(folder, 'keepalived.conf')
    writeFileSync(file, each.text)
    const pids = ['pid', 'checkers_pid', 'vrrp_pid'].map((name) => `--${name}=${join(folder, name)}`)
    await withNamespaces(
      2,
      async (director, host) => {
        await startEcho(host, 'tcp', 8080)
        await director.ipvsadm(['-A -t 192.0.2.99:80 -s rr', ...(each.lines ?? [])])
        const becomes = async (text: string): Promise<void> => {
          let printed = ''
          const look = async (): Promise<boolean> =>
            (printed = await director.run(each.look ?? ['ipvsadm', '-Sn'])) === text
          await until('it is as it should be', look).catch(() => {
            expect(printed).toBe(text)
          })
        }
        const args = ['--dont-fork', '--log-console', `--use-file=${file}`, ...pids, ...(each.args ?? [])]
        const keepalived = director.start(['keepalived', ...args])
        await becomes(each.started)
        process.kill(keepalived.pid as number, 'SIGTERM')
        await until('keepalived has ended', () => keepalived.exitCode !== null)
        await becomes(each.stopped)
      },
      {
        setUp: ([, host = '']) => [
          [
            `link add eth0 type veth peer name eth0 netns ${host}`,
            'link set eth0 up',
            'addr add 10.0.0.1/24 dev eth0',
          ],
          ['link set eth0 up', 'addr add 10.0.0.7/24 dev eth0'],
        ],
      },
    )
  })
})
