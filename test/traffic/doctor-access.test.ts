import { describe, expect, test } from 'vitest'
import type { Finding, State } from '../../lib/index.ts'
import { installCommand } from '../helpers/installed-command.ts'
import { command, kernelTests, type Netns } from '../helpers/kernel.ts'
import { withoutLoading } from '../helpers/modules.ts'
import { IN_VAIN_MS } from './agent.ts'
import { expectMended } from './faults.ts'
import { BEHIND_DIRECTOR, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/** What keeps the table from being there, or a part of it; and the command. Modules are those of the whole machine. */

const { env } = installCommand()

const KEY = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const
const STATE = {
  services: [
    {
      ...{ ...KEY, scheduler: 'rr' },
      realServers: [
        { address: '10.0.0.11', port: 8080, method: 'masquerade' },
        { address: '10.0.0.12', port: 8080, method: 'masquerade' },
      ],
    },
  ],
} as const satisfies State

type Hosts = keyof (typeof BEHIND_DIRECTOR)['hosts']

/** NAT as it should be; the table is to be applied. */
function withNat(
  body: (site: Site<Hosts>, serves: () => Promise<unknown>) => Promise<unknown>,
): Promise<unknown> {
  return withTopology(BEHIND_DIRECTOR, async (site) => {
    const { hosts, agent, sh } = site
    await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`, 'sysctl -qw net.ipv4.ip_forward=1')
    for (const name of ['web1', 'web2'] as const) await agent.serve(hosts[name], { port: 8080, name })
    return body(site, () => agent.ask(hosts.client, { ...KEY, withinMs: IN_VAIN_MS * 3 }))
  })
}

kernelTests('the doctor', () => {
  test('finds a service without a scheduler', async () => {
    await withNat(async (site, serves) => {
      const { ipvs } = site.hosts.director
      await ipvs.apply(STATE)
      await expectMended(site, {
        ...{ code: 'scheduler-missing', on: 'director', serves },
        make: () => ipvs.editService(KEY, { scheduler: 'none' }),
      })
    })
  })

  test.each([
    ['scheduler', 'scheduler-missing', 'ip_vs_fo', { scheduler: 'fo' }],
    ['persistence engine', 'engine-missing', 'ip_vs_pe_sip', { persistence: {}, persistenceEngine: 'sip' }],
  ] as const)('finds that the kernel lacks a wanted %s', async (_, code, module, settings) => {
    const state: State = { services: [{ ...STATE.services[0], ...settings, protocol: 'tcp' }] }
    await withNat(async (site, serves) => {
      const { ipvs } = site.hosts.director
      await withoutLoading(async () => {
        await command(['modprobe', module])
        await expectMended(site, {
          ...{ code, on: 'director', options: { state } },
          serves: async () => {
            await ipvs.apply(state)
            // The engine reads SIP of UDP alone: what matters is that there is a service.
            if (code === 'scheduler-missing') await serves()
          },
          make: async () => {
            await ipvs.flush()
            await command(['rmmod', module])
          },
        })
      })
    })
  })
})

describe('ipvs doctor', () => {
  kernelTests('in a namespace', () => {
    const doctor = async (
      netns: Netns,
      ...words: readonly string[]
    ): Promise<{ status: number; stdout: string }> => {
      const { status, stdout } = await netns.tryRun(['env', `PATH=${env.PATH ?? ''}`, ...words])
      return { status, stdout }
    }

    test('sets the sysctls of that namespace, and traffic flows', async () => {
      await withNat(async ({ hosts, sh }, serves) => {
        const { director, client } = hosts
        await director.ipvs.apply(STATE)
        await sh('director', 'sysctl -qw net.ipv4.ip_forward=0')
        await expect(serves()).rejects.toThrow('ETIMEDOUT')
        const line = ['ipvs', 'doctor', '--netns', director.name]
        expect((await doctor(client, ...line)).status).toBe(1)
        expect((await doctor(client, ...line, '--fix')).status).toBe(3)
        await expect(serves()).rejects.toThrow('ETIMEDOUT')
        expect((await doctor(client, ...line, '--fix', '--yes')).status).toBe(0)
        await serves()
        expect(await doctor(client, ...line)).toEqual({ status: 0, stdout: 'no findings\n' })
        expect(await sh('director', 'sysctl -n net.ipv4.ip_forward')).toBe('1\n')
        expect(await sh('client', 'sysctl -n net.ipv4.ip_forward')).toBe('0\n')
      })
    })

    test('says that it could not run a program, and finds what depends on it once it can', async () => {
      await withNat(async ({ hosts, sh }, serves) => {
        const { director } = hosts
        await director.ipvs.apply(STATE)
        await serves()
        await sh('director', `ip address delete ${VIRTUAL.ipv4}/32 dev eth0`)
        await expect(serves()).rejects.toThrow('ETIMEDOUT')
        const codes = async (...before: readonly string[]): Promise<readonly [number, string[]]> => {
          const { status, stdout } = await doctor(director, ...before, 'ipvs', 'doctor', '--json')
          return [status, (JSON.parse(stdout) as Finding[]).map(({ code }) => code)]
        }
        const hidden = 'mount --bind /dev/null "$(readlink -f "$(command -v ip)")"; exec "$@"'
        expect(await codes('unshare', '--mount', 'sh', '-ec', hidden, 'sh')).toEqual([0, ['cannot-look']])
        expect(await codes()).toEqual([1, ['address-missing']])
        await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`)
        await serves()
        expect(await codes()).toEqual([0, []])
      })
    })

    test('says that it may not read the table', async () => {
      await withNat(async ({ hosts }) => {
        const { director } = hosts
        await director.ipvs.apply(STATE)
        const nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']
        const { status, stdout } = await doctor(director, ...nobody, 'ipvs', 'doctor', '--json')
        expect(status).toBe(5)
        const found = JSON.parse(stdout) as Finding[]
        expect(found.map(({ code }) => code)).toEqual(['no-permission'])
        expect((await doctor(director, 'ipvs', 'doctor')).status).toBe(0)
      })
    })
  })
})
