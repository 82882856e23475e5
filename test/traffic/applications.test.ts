import { expect, test } from 'vitest'
import type { Family } from '../../lib/index.ts'
import { concurrentKernelTests } from '../helpers/kernel.ts'
import { type Answer, countsOf } from './agent.ts'
import { getFile, serveFtp } from './ftp.ts'
import { addressOf, ftp, sip } from './modes.ts'
import { withMode } from './prove.ts'

/** Protocols that the kernel reads itself. */

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
concurrentKernelTests('FTP with NAT', () => {
  test.each(FAMILIES)('brings files in both ways, %s', async (family) => {
    const mode = ftp(family)
    await withMode({ ...mode, servers: {} }, async (site) => {
      for (const name of ['web1', 'web2']) await serveFtp(site.host(name), name)
      const client = addressOf(mode.topology, 'client', family)
      for (const way of ['passive', 'active'] as const) {
        const got = []
        for (let count = 0; count < 2; count++)
          got.push(await getFile(site.host('client'), mode.target.address, way))
        expect(got.sort(), way).toEqual([`web1, for ${client} 100000`, `web2, for ${client} 100000`])
      }
    })
  })
})

concurrentKernelTests('SIP', () => {
  test.each(FAMILIES)('of one call reaches one server, from wherever it comes, %s', async (family) => {
    const mode = sip(family)
    await withMode(mode, async ({ host, agent, sh }) => {
      const [first, second] =
        family === 'ipv4' ? ['198.51.100.100', '198.51.100.101'] : ['2001:db8:100::100', '2001:db8:100::101']
      await sh(
        'client',
        family === 'ipv4'
          ? `ip address add ${second}/24 dev eth0`
          : `ip address add ${second}/64 dev eth0 nodad`,
      )
      const invite = async (call: string, source: string): Promise<Answer> => {
        const text = `INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP client:5060\r\nCall-ID: ${call}@example.com\r\nContent-Length: 0\r\n\r\n`
        return agent.ask(host('client'), { ...mode.target, source, text })
      }
      const begun = []
      for (const call of ['1', '2', '3', '4']) begun.push(await invite(call, first))
      expect(countsOf(begun)).toEqual({ web1: 2, web2: 2 })
      for (const [index, { server }] of begun.entries()) {
        const later = await invite(String(index + 1), second)
        expect([later.server, later.address]).toEqual([server, second])
      }
    })
  })
})
