import { beforeAll, describe, expect, test } from 'vitest'
import { buildLibrary, type BuiltLibrary } from '../helpers/built-library.ts'
import { runWell } from './run.ts'

/** The library as it is installed, in a process of its own. */

let library: BuiltLibrary
let withoutAddon: BuiltLibrary

beforeAll(() => {
  library = buildLibrary()
  withoutAddon = buildLibrary({ addon: false })
})

async function told(name: string, of: BuiltLibrary = library): Promise<Record<string, unknown>> {
  const env = { IPVS_TEST_LIBRARY: of.url, IPVS_ADDON: '' }
  return JSON.parse(await runWell('library', [name], { env })) as Record<string, unknown>
}

describe('Ipvs.open()', () => {
  test('on a kernel without IPVS says what to load', async (context) => {
    const answer = await told('open')
    if ('info' in answer || answer.code === 'EPERM') {
      console.warn('SKIPPED: Ipvs.open() on a kernel without IPVS: this one has it')
      context.skip()
    }
    expect(answer).toMatchObject({
      name: 'IpvsError',
      code: 'ENOENT',
      errno: -2,
      command: 'open',
      isIpvsError: true,
      message: expect.stringContaining('modprobe ip_vs'),
    })
  })

  test('where this is not Linux says so, without looking for the addon', async () => {
    for (const of of [library, withoutAddon]) {
      expect(await told('open where this is not Linux', of)).toMatchObject({
        code: 'ERR_IPVS_PLATFORM',
        isIpvsError: false,
        message: expect.stringMatching(/needs Linux.*this is darwin/),
      })
    }
    expect(await told('probe where this is not Linux')).toMatchObject({
      code: 'ERR_IPVS_PLATFORM',
      message: expect.stringContaining('win32'),
    })
  })

  test('without the addon says where it was looked for, and how to get it', async () => {
    const answer = await told('open', withoutAddon)
    expect(answer).toMatchObject({ code: 'ERR_IPVS_ADDON', isIpvsError: false })
    expect(answer.message).toContain(`${withoutAddon.folder}/prebuilds/linux-${process.arch}/ipvs.node`)
    expect(answer.message).toContain(`npx node-gyp rebuild --directory '${withoutAddon.folder}/native'`)
  })

  test('in a namespace that is not there says so', async () => {
    const answer = await told('a namespace that is not there')
    expect(answer).toMatchObject({ name: 'IpvsError', code: 'ENOENT', command: 'open' })
    expect(answer.message).toContain("no network namespace '")
  })
})

test('Ipvs.probe() on a kernel without IPVS finds nothing', async (context) => {
  const answer = await told('probe')
  if (answer.available === true || answer.code === 'EPERM') {
    console.warn('SKIPPED: Ipvs.probe() on a kernel without IPVS: this one has it')
    context.skip()
  }
  expect(answer).toMatchObject({ available: false, schedulers: [], counters64: false })
})

test('with a transport of its own the library needs neither addon nor kernel', async () => {
  expect(await told('a transport of my own', withoutAddon)).toEqual({
    web: { protocol: 'tcp', address: '192.0.2.10', port: 443, scheduler: 'wlc' },
    servers: [7, 8, 9].map((host) => ({
      address: `10.0.0.${host}`,
      port: 443,
      method: 'masquerade',
      weight: host,
    })),
    missing: expect.objectContaining({
      code: 'ESRCH',
      errno: -3,
      command: 'deleteService',
      isIpvsError: true,
    }),
    table: [],
    calls: [1, 3, 1, 'close'],
  })
})
