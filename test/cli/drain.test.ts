import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { Ipvs, type RealServer } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryConnection, type MemoryKernel } from '../../lib/testing.ts'
import { type Around, ipvs, type Said } from './terminal.ts'

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
    expect(stderr.split('\r\u001B[K')[1]).toBe(`0 s: 1 active, 0 inactive; Ctrl-C undoes it: ${NAME}`)
    expect(stderr.endsWith('\r\u001B[K')).toBe(true)
    expect(await server()).toBeUndefined()
  })

  test.each([40, 80, 100, 120])('keeps its progress on one line of %i columns', async (columns) => {
    const around = onWait(() => {
      client.close()
      kernel.advance(300)
    })
    const { stderr } = await ipvs(DRAIN, { kernel, ...around, columns, secondsPerLook: 1 })
    const shown = stderr.split('\r\u001B[K')
    expect(shown.length).toBeGreaterThan(2)
    for (const line of shown) expect(line.length).toBeLessThan(columns)
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
    ['keep', 1, 'kept with weight 0, because the time was up and it still has 1 open connection', 0],
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
      stdout: `${NAME}: kept, because something else has set its weight to 9\n`,
    })
  })

  test('--json has the outcome, and what was seen last', async () => {
    const { status, stdout } = await ipvs(`${DRAIN} --timeout 0 --json`, { kernel, columns: 80 })
    expect(status).toBe(1)
    expect(JSON.parse(stdout)).toEqual({
      service: 'tcp/192.0.2.10:80',
      server: '10.0.0.7:80',
      outcome: 'kept',
      reason: 'it still has 1 open connection',
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

  test('says that persistence keeps sending clients, and for how long at most', async () => {
    await table.editService(KEY, { persistence: { timeoutSeconds: 300 } })
    for (const connection of kernel.traffic(KEY, { connections: 4 })) connection.close()
    client.close()
    const { stdout } = await ipvs(`${DRAIN} --timeout 0 --wait-for active`, { kernel })
    expect(stdout).toMatch(
      /: kept with weight 0, because the time was up and it still has \d clients? that persistence remembers, because expire_quiescent_template=0 keeps sending (it|them) here, at most \d+ s more if idle\n$/,
    )
  })

  test('--keep leaves the server at weight 0', async () => {
    client.close()
    kernel.advance(300)
    expect(await ipvs(`${DRAIN} --keep`, { kernel })).toEqual({
      status: 0,
      stdout: `${NAME}: drained, and kept with weight 0\n`,
      stderr: '',
    })
    expect((await server())?.weight).toBe(0)
  })

  test('refuses to take the last live server without --force', async () => {
    client.close()
    kernel.advance(300)
    await table.editRealServer(KEY, { address: '10.0.0.8' }, { weight: 0 })
    for (const more of ['', ' --keep']) {
      const { status, stderr } = await ipvs(DRAIN + more, { kernel })
      expect(status).toBe(3)
      expect(stderr).toMatch(
        /would be left without a real server whose weight is above 0\. To allow this, give --force\.\n$/,
      )
      expect((await server())?.weight).toBe(3)
    }
    expect(await ipvs(`${DRAIN} --force`, { kernel })).toMatchObject({ status: 0 })
    expect(await server()).toBeUndefined()
  })
})

describe('ipvs drain --undo', () => {
  let folder: string

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipvs-drain-'))
    client.close()
    kernel.advance(300)
    return () => {
      rmSync(folder, { recursive: true })
    }
  })

  function run(line: string): Promise<Said> {
    return ipvs(line, { kernel, env: { IPVS_HISTORY: '', STATE_DIRECTORY: folder } })
  }

  test('adds a server again that was deleted, as it was', async () => {
    await table.editRealServer(KEY, { address: '10.0.0.7' }, { upperThreshold: 9 })
    expect(await run(DRAIN)).toMatchObject({ status: 0 })
    await table.addRealServer(KEY, { address: '10.0.0.9' })
    const { status, stdout, stderr } = await run('drain tcp/192.0.2.10:80 10.0.0.7 --undo')
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout:
        '  tcp/192.0.2.10:80\n+   10.0.0.7:80  method direct, weight 3, upperThreshold 9\n' +
        '1 to add, 0 to change, 0 to delete.\nDone: 1 added, 0 changed, 0 deleted.\n',
    })
    expect(stderr).toMatch(/^ipvs: back to what it was before: ipvs drain .*\n$/)
    expect(await server()).toMatchObject({ weight: 3, upperThreshold: 9 })
    expect(await table.realServers(KEY)).toHaveLength(3)
  })

  test('is told with the table that it is for', async () => {
    const file = join(folder, 'other.rules')
    writeFileSync(
      file,
      ['-A -t 192.0.2.10:80', '-a -t 192.0.2.10:80 -r 10.0.0.7', '-a -t 192.0.2.10:80 -r 10.0.0.8', ''].join(
        '\n',
      ),
    )
    const { stderr } = await run(`${DRAIN} --keep --memory ${file}`)
    expect(stderr).toContain(
      `to bring it back: ipvs drain --undo tcp/192.0.2.10:80 10.0.0.7:80 --memory ${file}\n`,
    )
  })

  test('is not told where the history cannot be written: the weight is', async () => {
    writeFileSync(join(folder, 'file'), '')
    const env = { IPVS_HISTORY: '', STATE_DIRECTORY: join(folder, 'file') }
    const { stderr } = await ipvs(`${DRAIN} --keep`, { kernel, env })
    expect(stderr).toMatch(/^ipvs: the state from before was not kept for ipvs undo: /)
    expect(stderr).toMatch(/\nipvs: to bring it back: ipvs weight tcp\/192\.0\.2\.10:80 10\.0\.0\.7:80 3\n$/)
  })

  test('gives only the weight back to a server that is there', async () => {
    const kept = await run(`${DRAIN} --keep`)
    expect(kept.stderr).toBe('ipvs: to bring it back: ipvs drain --undo tcp/192.0.2.10:80 10.0.0.7:80\n')
    await table.editRealServer(KEY, { address: '10.0.0.7' }, { upperThreshold: 9 })
    expect(await run('drain --undo tcp/192.0.2.10:80 10.0.0.7:80')).toMatchObject({ status: 0 })
    expect(await server()).toMatchObject({ weight: 3, upperThreshold: 9 })
  })

  test('passes over a drain before which the weight was 0 already', async () => {
    await run(`${DRAIN} --keep`)
    await run(DRAIN)
    expect(await server()).toBeUndefined()
    expect(await run('drain --undo tcp/192.0.2.10:80 10.0.0.7')).toMatchObject({ status: 0 })
    expect((await server())?.weight).toBe(3)
  })

  test('does not count a drain that was ended by Ctrl-C', async () => {
    kernel.connect(KEY)
    kernel.connect(KEY)
    const env = { IPVS_HISTORY: '', STATE_DIRECTORY: folder }
    const onStderr: Around['onStderr'] = (text, signal) => {
      if (text.includes('active')) signal('SIGINT')
    }
    expect(await ipvs(DRAIN, { kernel, columns: 120, secondsPerLook: 1, env, onStderr })).toMatchObject({
      status: 130,
    })
    expect(await run('history')).toMatchObject({ stdout: '' })
  })

  test('names the command for a server that the history does not know', async () => {
    const there = await run('drain --undo tcp/192.0.2.10:80 10.0.0.7')
    expect(there.status).toBe(4)
    expect(there.stderr).toMatch(/ To bring it back: ipvs weight tcp\/192\.0\.2\.10:80 10\.0\.0\.7:80 1\n$/)
    const absent = await run('drain --undo tcp/192.0.2.10:80 10.0.0.9')
    expect(absent.status).toBe(4)
    expect(absent.stderr).toMatch(/: ipvs add tcp\/192\.0\.2\.10:80 10\.0\.0\.9:80 method=direct weight=1\n$/)
    const nothing = await run('drain --undo tcp/[2001:db8::1]:80 2001:db8::7')
    expect(nothing.status).toBe(4)
    expect(nothing.stderr).toContain(
      "ipvs add 'tcp/[2001:db8::1]:80', then ipvs add 'tcp/[2001:db8::1]:80' '[2001:db8::7]:80'",
    )
  })

  test('names the undo of everything where the service is gone', async () => {
    await run(DRAIN)
    await table.deleteService(KEY)
    const { status, stderr } = await run('drain --undo tcp/192.0.2.10:80 10.0.0.7')
    expect(status).toBe(4)
    expect(stderr).toContain('bring back the whole table from before the drain: ipvs undo 1')
  })
})
