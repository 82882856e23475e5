// The package, as npm installs it, on every runtime that it supports: each version of Node, Bun, and both C libraries.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fetchRuntimes, type Runtime } from '../../scripts/runtimes.mjs'
import { patient } from '../helpers/patience.mjs'
import { OPEN, OPENED } from '../helpers/user.ts'
import {
  ADD,
  ADDED,
  describeWith,
  GUEST_MS,
  type GuestRun,
  installWithNpm,
  type Outcome,
  type Place,
  printedBy,
  run,
  runInGuest,
} from './installation.ts'

/** Loads each door by require() and by import, and prints whether the addon, and which C library, is in memory. */
const DOORS = `
const { readFileSync } = require('node:fs')
const required = require('ipvs')
Promise.all([import('ipvs'), import('ipvs/text'), import('ipvs/testing')]).then(([ipvs, text, testing]) => {
  const maps = readFileSync('/proc/self/maps', 'utf8')
  console.log(JSON.stringify({
    isSame: required.Ipvs === ipvs.Ipvs,
    kinds: [required.Ipvs, text.parseState, testing.createMemoryKernel].map((item) => typeof item),
    hasAddon: maps.includes('ipvs.node'),
    libc: ['/ld-musl-', '/libc.so.6'].filter((name) => maps.includes(name)),
  }))
})
`

async function getNeeds(): Promise<{ readonly runtimes: readonly Runtime[]; readonly place: Place }> {
  return { runtimes: await fetchRuntimes(), place: await installWithNpm() }
}

await describeWith('runtimes', getNeeds, ({ runtimes, place }) => {
  let guest: GuestRun
  beforeAll(async () => {
    place.write('doors.cjs', DOORS)
    place.write('open.mjs', OPEN)
    place.write('add.mjs', ADD)
    guest = await runInGuest(runtimes.map(({ argv }) => place.command(...argv, 'add.mjs')))
  }, patient(GUEST_MS))

  afterAll(() => {
    place.remove()
  })

  describe.each(runtimes.map(({ name, argv }, index) => [name, argv, index] as const))(
    '%s',
    (name, argv, index) => {
      const start = (program: string): Promise<Outcome> => run(place.command(...argv, program))

      it('has each door by require() and by import, and loads no addon for that', async () => {
        const { stdout, stderr } = await start('doors.cjs')
        expect(stderr).toBe('')
        expect(JSON.parse(stdout)).toMatchObject({
          isSame: true,
          kinds: ['function', 'function', 'function'],
          hasAddon: false,
          libc: [name.endsWith(' on musl') ? '/ld-musl-' : '/libc.so.6'],
        })
      })

      it('loads the addon: without IPVS, the error comes from the kernel', async () => {
        const { stdout, stderr } = await start('open.mjs')
        expect(stderr).toBe('')
        expect(stdout).toMatch(OPENED)
      })

      it('adds a service and a real server to the table of the kernel, and reads them back', (context) => {
        expect(JSON.parse(printedBy(guest, index, context))).toEqual(ADDED)
      })
    },
  )
})
