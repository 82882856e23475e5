import { beforeEach, describe, expect, test } from 'vitest'
import { Ipvs, type RealServer } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryConnection, type MemoryKernel } from '../../lib/testing.ts'
import { ipvs } from './terminal.ts'

const KEY = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const NAME = 'tcp/192.0.2.10:80 -> 10.0.0.7:80'
const DRAIN = 'drain tcp/192.0.2.10:80 10.0.0.7 --interval 0.01'

let kernel: MemoryKernel
let table: Ipvs
let client: MemoryConnection

/** A service with two real servers, one of which has one client. */
beforeEach(async () => {
  kernel = createMemoryKernel()
  table = await Ipvs.open({ transport: kernel })
  const web = await table.addService(KEY)
  await web.addRealServer({ address: '10.0.0.7', weight: 3 })
  client = kernel.connect(KEY)
  await web.addRealServer({ address: '10.0.0.8' })
})

async function server(): Promise<RealServer | undefined> {
  return (await table.realServers(KEY)).find(({ address }) => address === '10.0.0.7')
}

/** Runs something once the drain has begun to wait. */
function onWait(run: () => void): { readonly onStderr: (text: string) => void; readonly columns: number } {
  let done = false
  return {
    columns: 120,
    onStderr(text) {
      if (done || !text.includes('1 active')) return
      done = true
      run()
    },
  }
}

describe('ipvs drain', () => {
  test('waits for the end of the connections, and deletes the server', async () => {
    const around = onWait(() => {
      client.close()
      kernel.advance(300)
    })
    const { status, stdout, stderr } = await ipvs(DRAIN, { kernel, ...around, secondsPerLook: 1 })
    expect({ status, stdout }).toEqual({ status: 0, stdout: `${NAME}: deleted\n` })
    expect(stderr.split('\r\u001B[K')[1]).toBe(
      `${NAME}: 1 active, 0 inactive, 0 persistent after 0 s (Ctrl-C restores the weight)`,
    )
    expect(stderr.endsWith('\r\u001B[K')).toBe(true)
    expect(await server()).toBeUndefined()
  })

  test('says no more than the end in a pipe', async () => {
    client.close()
    kernel.advance(300)
    expect(await ipvs(DRAIN, { kernel })).toEqual({
      status: 0,
      stdout: `${NAME}: deleted\n`,
      stderr: '',
    })
  })

  test.each([
    ['keep', 1, 'kept with weight 0, because its connections did not end in time', 0],
    ['delete', 0, 'deleted', undefined],
  ])('does what --at-timeout %s says', async (what, status, said, weight) => {
    expect(await ipvs(`${DRAIN} --timeout 0.05 --at-timeout ${what}`, { kernel })).toEqual({
      status,
      stdout: `${NAME}: ${said}\n`,
      stderr: '',
    })
    expect((await server())?.weight).toBe(weight)
  })

  test('leaves the server at weight 0 if nothing else is said', async () => {
    expect(await ipvs(`${DRAIN} --timeout 0`, { kernel })).toMatchObject({ status: 1 })
    expect((await server())?.weight).toBe(0)
  })

  test('--wait-for active does not wait for those that one side has closed', async () => {
    client.close()
    expect(await ipvs(`${DRAIN} --timeout 0`, { kernel })).toMatchObject({ status: 1 })
    expect(await ipvs(`${DRAIN} --timeout 0 --wait-for active`, { kernel })).toMatchObject({ status: 0 })
  })

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('gives the weight back at %s', async (name, status) => {
    const ended = await ipvs(DRAIN, {
      kernel,
      columns: 120,
      secondsPerLook: 1,
      onStderr(text, signal) {
        if (text.includes('1 active')) signal(name)
      },
    })
    expect(ended).toMatchObject({ status, stdout: '' })
    expect(ended.stderr).toContain(`ended by ${name}`)
    expect((await server())?.weight).toBe(3)
  })

  test('says if someone else deleted the server, or gave it a weight', async () => {
    const deleted = onWait(() => void table.deleteRealServer(KEY, { address: '10.0.0.7' }))
    expect(await ipvs(DRAIN, { kernel, ...deleted, secondsPerLook: 1 })).toMatchObject({
      status: 0,
      stdout: `${NAME}: already deleted by something else\n`,
    })
    await table.addRealServer(KEY, { address: '10.0.0.7' })
    const overruled = onWait(() => void table.editRealServer(KEY, { address: '10.0.0.7' }, { weight: 9 }))
    expect(await ipvs(DRAIN, { kernel, ...overruled, secondsPerLook: 1 })).toMatchObject({
      status: 1,
      stdout: `${NAME}: kept, because something else has changed its weight\n`,
    })
  })

  test('--json has the outcome, and what was seen last', async () => {
    const { status, stdout } = await ipvs(`${DRAIN} --timeout 0 --json`, { kernel, columns: 80 })
    expect(status).toBe(1)
    expect(JSON.parse(stdout)).toEqual({
      service: 'tcp/192.0.2.10:80',
      server: '10.0.0.7:80',
      outcome: 'kept',
      last: {
        activeConnections: 1,
        inactiveConnections: 0,
        persistentConnections: 0,
        elapsedMs: expect.any(Number),
        waitsFor: ['active'],
      },
    })
  })

  test.each([
    ['a service that is not there', 'drain tcp/192.0.2.99:80 10.0.0.7', 4],
    ['a server that is not there', 'drain tcp/192.0.2.10:80 10.0.0.99', 4],
    ['a server of another port', 'drain tcp/192.0.2.10:80 10.0.0.7:81', 4],
    ['a name of a server', 'drain tcp/192.0.2.10:80 web7', 2],
    ['a time that is none', `${DRAIN} --timeout 1m`, 2],
    ['a time that no timer has', `${DRAIN} --timeout 9999999`, 2],
    ['an end that is none', `${DRAIN} --at-timeout wait`, 2],
  ])('refuses %s', async (_, line, status) => {
    expect(await ipvs(line, { kernel })).toMatchObject({ status, stdout: '' })
    expect((await server())?.weight).toBe(3)
  })
})
