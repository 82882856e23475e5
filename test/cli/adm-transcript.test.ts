import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { NameSources } from '../../lib/cli/names.ts'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { runOurs } from '../helpers/adm-programs.ts'
import { SCENES, SERVICES, transcript } from '../helpers/adm-transcript.ts'

/**
 * Ours does on the in-memory kernel what the real programs did on Linux 6.1:
 * test/kernel/adm-transcript.test.ts has recorded it.
 */

const FIXTURE = new URL('../fixtures/ipvsadm-1.31-linux-6.1.txt', import.meta.url)

/** By the titles of scenes. */
const recorded = new Map(
  readFileSync(FIXTURE, 'utf8')
    .split(/^== (?!hash)/m)
    .slice(1)
    .map((part) => {
      const [, title = '', hashSeed, text = ''] = /^(.*)\n== hash seed (\d+)\n([^]*)$/.exec(part) ?? []
      return [title, { hashSeed: Number(hashSeed), text }] as const
    }),
)

const LOCAL = ['127.0.0.1', '::1']

/** The names that there were when it was recorded. */
const NAMES: NameSources = {
  services: () => SERVICES,
  lookUp: () => Promise.resolve(undefined),
  lookUpName: (address) => Promise.resolve(LOCAL.includes(address) ? 'localhost' : undefined),
}

describe('the programs do what those of ipvsadm did', () => {
  test('in all recorded scenes', () => {
    expect([...recorded.keys()]).toEqual(SCENES.map(({ title }) => title))
  })

  test.each(SCENES)('$title', async (scene) => {
    const { hashSeed = 0, text } = recorded.get(scene.title) ?? {}
    const kernel = createMemoryKernel({
      version: '6.1',
      hz: 100,
      hashSeed,
      interfaces: [
        { name: 'lo', mtuBytes: 65536, addresses: ['127.0.0.1/8', '::1/128'] },
        { name: 'dummy0', addresses: ['192.0.2.1/24', '2001:db8:ffff::1/64'] },
      ],
    })
    await kernel.batch(scene.requests ?? [])
    const ipvs = await Ipvs.open({ transport: kernel })
    const said = await transcript(scene, ipvs, ({ program, stdin }, words) =>
      runOurs(kernel, words, stdin, { program, names: NAMES, piece: 37 }),
    )
    await ipvs.close()
    expect(said).toBe(text)
  })
})
