import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { ServiceManager, statusLine } from '../../lib/cli/systemd.ts'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { ipvs } from './terminal.ts'

/** What `ipvs reconcile` tells, and whom. What it does to a table is in changes.test.ts. */

const WEB = `services:
  - protocol: tcp
    address: 192.0.2.10
    port: 80
    scheduler: rr
    realServers:
      - { address: 10.0.0.7, weight: 5 }
`
const BROKEN = 'services: 7\n'

let folder: string
let path: string
let kernel: MemoryKernel

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-reconcile-'))
  path = join(folder, 'web.yaml')
  writeFileSync(path, WEB)
  kernel = createMemoryKernel()
  return () => {
    rmSync(folder, { recursive: true })
  }
})

const NOTIFY = { NOTIFY_SOCKET: '@test' }
const KEEP = (more: readonly string[] = []): string[] => ['reconcile', path, '--yes', ...more]

/** How a test answers to what it hears. */
type Answer = (text: string, signal: (name: 'SIGTERM' | 'SIGHUP' | 'SIGINT') => void) => void

/** Runs the command as systemd does. Gives what it said and what systemd was told, without the time of a reload. */
async function asService(
  answer: Answer,
  more: readonly string[] = [],
): Promise<{ readonly status: number; readonly stderr: string; readonly told: readonly string[] }> {
  const told: string[] = []
  const { status, stderr } = await ipvs(KEEP(more), {
    kernel,
    env: NOTIFY,
    onNotification(text, signal) {
      told.push(text.replace(/(MONOTONIC_USEC=)\d+/, '$1N'))
      answer(told.join('\n'), signal)
      return undefined
    },
  })
  return { status, stderr, told }
}

describe('ipvs reconcile', () => {
  test.each([
    [[], 'keeping the table as FILE says: now, every 10 s, and when the file changes'],
    [
      ['--scope', '192.0.2.0/24', '--scope', 'fwmark/5', '--interval', '60'],
      'keeping the services inside 192.0.2.0/24, fwmark/5 as FILE says: now, every 60 s, and when the file changes',
    ],
    [
      ['--no-prune'],
      'keeping the table as FILE says: now, every 10 s, and when the file changes; ' +
        'what it does not name stays',
    ],
  ])('says with %s what it keeps', async (options, said) => {
    const first = { text: '' }
    await ipvs(['reconcile', path, '--yes', ...options], {
      kernel,
      onStderr(text, signal) {
        first.text ||= text
        signal('SIGTERM')
      },
    })
    expect(first.text).toBe(`ipvs: ${said.replace('FILE', path)}\n`)
  })

  test('counts what is inside the scope alone', async () => {
    const table = await Ipvs.open({ transport: kernel })
    await table.addService({ protocol: 'tcp', address: '198.51.100.1', port: 80 })
    const { stderr } = await ipvs(KEEP(['--scope', '192.0.2.0/24']), {
      kernel,
      onStderr(text, signal) {
        if (text.includes('wanted')) signal('SIGINT')
      },
    })
    expect(stderr).toContain('\nipvs: as wanted: 1 service and 1 real server\n')
  })

  test.each(['SIGTERM', 'SIGINT'] as const)('ends with 0 at %s', async (name) => {
    const { status, stderr } = await ipvs(KEEP(), {
      kernel,
      onStderr(text, signal) {
        if (text.includes('wanted')) signal(name)
      },
    })
    expect({ status, last: stderr.split('\n').at(-2) }).toEqual({ status: 0, last: `ipvs: ended by ${name}` })
  })

  test('reads its file again at SIGHUP, although the interval is long', async () => {
    const table = await Ipvs.open({ transport: kernel })
    const flushed = { once: false }
    const { status, stderr, stdout } = await ipvs(KEEP(['--interval', '3600']), {
      kernel,
      onStderr(text, signal) {
        const times = text.split('as wanted').length - 1
        if (times === 1 && !flushed.once) {
          flushed.once = true
          void table.flush().then(() => {
            signal('SIGHUP')
          })
        }
        if (times === 2) signal('SIGTERM')
      },
    })
    expect(status).toBe(0)
    expect(stderr).toContain(
      `ipvs: SIGHUP: reading ${path} again\nipvs: as wanted: 1 service and 1 real server\n`,
    )
    expect(stdout.split('2 to add').length - 1).toBe(2)
  })

  test('ends at SIGHUP if its terminal is gone', async () => {
    const { status, stderr } = await ipvs(KEEP(), {
      kernel,
      columns: 80,
      hungUp: true,
      onStderr(text, signal) {
        if (text.includes('wanted')) signal('SIGHUP')
      },
    })
    expect(status).toBe(0)
    expect(stderr).toMatch(/ended by SIGHUP\n$/)
  })

  test('tells programs with --json what it tells people', async () => {
    const { stderr } = await ipvs(KEEP(['--json']), {
      kernel,
      onStderr(text, signal) {
        const times = text.split('"kept"').length - 1
        if (times === 1 && !text.includes('"reading"')) signal('SIGHUP')
        if (times === 2) signal('SIGTERM')
      },
    })
    const values = stderr
      .trimEnd()
      .split('\n')
      .map((one) => JSON.parse(one) as object)
    expect(values).toEqual([
      { keeping: { file: path, prune: true, intervalSeconds: 10 } },
      { kept: { services: 1, realServers: 1 } },
      { reading: path },
      { kept: { services: 1, realServers: 1 } },
      { ended: 'SIGTERM' },
    ])
  })
})

describe('ipvs reconcile under systemd', () => {
  test('is ready after its first run, and tells when it stops', async () => {
    const { status, told } = await asService((text, signal) => {
      if (text.includes('READY')) signal('SIGTERM')
    })
    expect(status).toBe(0)
    expect(told).toEqual([
      `STATUS=reading ${path}`,
      `STATUS=1 service and 1 real server, as ${path} says`,
      'READY=1',
      'STOPPING=1',
    ])
  })

  test('is not ready before a run has succeeded, and says why', async () => {
    writeFileSync(path, BROKEN)
    const { told } = await asService(
      (text, signal) => {
        if (text.includes('failed')) writeFileSync(path, WEB)
        if (text.includes('READY')) signal('SIGTERM')
      },
      ['--interval', '0.02'],
    )
    const ready = told.indexOf('READY=1')
    expect(told[1]).toMatch(/^STATUS=the last run failed: .*web\.yaml: line 1, column 1\d?: services must be/)
    expect(told[ready - 1]).toBe(`STATUS=1 service and 1 real server, as ${path} says`)
    expect(told.slice(1, ready - 1).every((one) => one.startsWith('STATUS=the last run failed'))).toBe(true)
  })

  test('is reloading until the run is done, even if that fails', async () => {
    const { told } = await asService((text, signal) => {
      const [, reload = ''] = text.split('RELOADING')
      if (text.endsWith('READY=1') && reload === '') {
        writeFileSync(path, BROKEN)
        signal('SIGHUP')
      }
      if (reload.includes('READY=1')) signal('SIGTERM')
    })
    const begun = told.indexOf('RELOADING=1\nMONOTONIC_USEC=N')
    expect(begun).toBeGreaterThan(0)
    expect(told.slice(begun + 1)).toEqual([
      expect.stringMatching(/^STATUS=the last run failed: .*services must be/),
      'READY=1',
      'STOPPING=1',
    ])
  })

  test('goes on if systemd cannot be notified, and says so once', async () => {
    const { status, stderr } = await ipvs(KEEP(), {
      kernel,
      env: NOTIFY,
      onNotification: () => 'ECONNREFUSED (sendmsg)',
      onStderr(text, signal) {
        if (text.includes('wanted')) signal('SIGTERM')
      },
    })
    expect(status).toBe(0)
    expect(stderr.split('cannot notify')).toHaveLength(2)
    expect(stderr).toContain('ipvs: cannot notify systemd at @test: ECONNREFUSED (sendmsg)\n')
  })
})

describe('the service manager', () => {
  const manager = (env: Record<string, string>): { sent: string[]; service: ServiceManager } => {
    const sent: string[] = []
    const send = (_: string, text: string): undefined => void sent.push(text)
    return { sent, service: new ServiceManager(env, send, () => undefined) }
  }

  test('is not told anything unless NOTIFY_SOCKET is set', () => {
    for (const env of [{}, { NOTIFY_SOCKET: '' }]) {
      const { sent, service } = manager(env)
      service.notify('READY=1')
      expect(sent).toEqual([])
    }
  })

  test.each([
    ['this process', { WATCHDOG_USEC: '1000000', WATCHDOG_PID: String(process.pid) }, 3],
    ['any process', { WATCHDOG_USEC: '1000000' }, 3],
    ['another process', { WATCHDOG_USEC: '1000000', WATCHDOG_PID: '1' }, 0],
    ['no process', {}, 0],
  ])('hears twice in a period from a watchdog of %s', (_, env, times) => {
    vi.useFakeTimers()
    try {
      const { sent, service } = manager({ ...NOTIFY, ...env })
      const stop = service.keepAlive()
      vi.advanceTimersByTime(1500)
      stop()
      vi.advanceTimersByTime(1500)
      expect(sent).toEqual(Array.from({ length: times }, () => 'WATCHDOG=1'))
    } finally {
      vi.useRealTimers()
    }
  })

  test('gets a status of one line', () => {
    expect(statusLine('a\nREADY=1\r\n b')).toBe('STATUS=a READY=1 b')
  })
})
