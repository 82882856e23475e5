import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { FakeLock, LockingTransport } from '../helpers/locking-transport.ts'
import { ipvs, type Said } from './terminal.ts'

/** Commands that change a table which another program changes at the same time. */

const SERVICE = 'tcp/192.0.2.10:80'
const OTHER = { pid: 4711, command: 'ipvs apply other.yaml' }

let file: string
let lock: FakeLock
let kernel: LockingTransport
beforeAll(() => {
  file = join(mkdtempSync(join(tmpdir(), 'ipvs-lock-')), 'web.yaml')
  writeFileSync(
    file,
    'services: [{ protocol: tcp, address: 192.0.2.10, port: 80, realServers: [{ address: 10.0.0.7 }, { address: 10.0.0.8 }] }]\n',
  )
})
afterAll(() => {
  rmSync(join(file, '..'), { recursive: true })
})
beforeEach(async () => {
  lock = new FakeLock()
  kernel = new LockingTransport(createMemoryKernel(), lock)
  const table = await Ipvs.open({ transport: kernel })
  await table.addService({ protocol: 'tcp', address: '192.0.2.10', port: 80 })
  await table.addRealServer({ protocol: 'tcp', address: '192.0.2.10', port: 80 }, { address: '10.0.0.9' })
  await table.close()
  kernel.writes = 0
})

const CHANGES = [
  `apply FILE --yes --force`,
  'flush --yes',
  `add ${SERVICE} 10.0.0.7`,
  `set ${SERVICE} 10.0.0.9 weight=5`,
  `weight ${SERVICE} 10.0.0.9 2`,
  `remove ${SERVICE}`,
]

const run = (line: string, around: object = {}): Promise<Said> =>
  ipvs(line.replace('FILE', file), { kernel, env: { IPVS_HISTORY: 'off' }, ...around })

describe('a command that changes the table', () => {
  test.each(CHANGES)('%s waits for another program, and says for which', async (line) => {
    lock.holder = OTHER
    const { status, stderr } = await run(line, {
      onStderr: (text: string) => {
        if (text.includes('waiting')) lock.holder = undefined
      },
    })
    expect(stderr).toContain(
      'ipvs: waiting for ipvs apply other.yaml (process 4711), which is changing this table; Ctrl-C gives up\n',
    )
    expect(status).toBe(0)
    expect(kernel.writes).toBeGreaterThan(0)
    expect(lock.holder).toBeUndefined()
  })

  test.each(CHANGES)('%s --no-wait is refused instead, and changes nothing', async (line) => {
    lock.holder = OTHER
    expect(await run(`${line} --no-wait`)).toMatchObject({
      status: 3,
      stderr:
        'ipvs: ipvs apply other.yaml (process 4711) is changing this table: wait until it has ended; nothing was changed\n',
    })
    expect(kernel.writes).toBe(0)
  })

  test('gives up at Ctrl-C', async () => {
    lock.holder = {}
    const said = await run(`weight ${SERVICE} 10.0.0.9 2`, {
      onStderr: (text: string, signal: (name: 'SIGINT') => void) => {
        if (text.endsWith('waiting for another process, which is changing this table; Ctrl-C gives up\n'))
          signal('SIGINT')
      },
    })
    expect(said.status).toBe(130)
    expect(kernel.writes).toBe(0)
  })

  test('goes on where there is no lock to be had, and says so', async () => {
    lock.failure = { errno: 30, syscall: 'mkdir' }
    const { status, stderr } = await run(`weight ${SERVICE} 10.0.0.9 2`)
    expect(stderr).toMatch(/^ipvs: other programs are not held out meanwhile\. EROFS: lock: /)
    expect(status).toBe(0)
  })

  test('does not hold others out while it drains', async () => {
    const { status } = await run(`drain ${SERVICE} 10.0.0.9 --force`)
    // Once to keep the state from before, and once to look and take the weight.
    expect([status, lock.tries, lock.holder]).toEqual([0, 2, undefined])
  })
})

test('a command that only reads does not wait', async () => {
  lock.holder = OTHER
  for (const line of [
    'list',
    'plan FILE',
    'apply FILE --dry-run --force',
    `weight ${SERVICE} 10.0.0.9 2 --dry-run`,
  ]) {
    expect((await run(line)).stderr).toBe('')
  }
  expect(lock.tries).toBe(0)
})
