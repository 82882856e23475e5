import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { ipvs } from '../cli/terminal.ts'
import { isPlain, run, stepsOf } from '../docs/console.ts'
import { pages } from '../docs/markdown.ts'
import { runOurs } from '../helpers/adm-programs.ts'
import { type InstalledCommand, installCommand } from '../helpers/installed-command.ts'
import { kernelTests, type Netns, tryCommand, withNamespace, withNamespaces } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { Connection, REAL, startEcho, VIRTUAL, withNetwork } from '../helpers/kernel-traffic.ts'

/** Our own commands on the real kernel. What they print is tested in test/cli. */

const LINES = `-A -t 192.0.2.10:80 -s rr
-a -t 192.0.2.10:80 -r 10.0.0.8:80 -m -w 2
-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m -w 1
-A -f 5 -s sh -p 600
`
const LESS = LINES.replace(/.*10\.0\.0\.8.*\n/, '').replace('-w 1', '-w 5')

kernelTests('the command', () => {
  let installed: InstalledCommand
  let folder: string

  beforeAll(() => {
    installed = installCommand()
  })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipvs-command-'))
    return () => {
      rmSync(folder, { recursive: true })
    }
  })

  function file(name: string, text: string): string {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }

  /** What a real program of a namespace does, with the command in its PATH. */
  function sh(netns: Netns, script: string): ReturnType<Netns['tryRun']> {
    return netns.tryRun(['env', `PATH=${installed.env.PATH ?? ''}`, 'sh', '-c', script])
  }

  // Those of docs/command.md run in memory.
  test('does what stands in docs/ipvsadm.md', async () => {
    const steps = pages().flatMap((page) => (page.name === 'docs/ipvsadm.md' ? stepsOf(page) : []))
    expect(steps.length).toBeGreaterThan(30)
    await withNamespace(async (netns) => {
      // To start Node for each would take most of the time.
      const inThisProcess = async (words: readonly string[]): Promise<string> => {
        const { stdout, stderr } = await runOurs(netns, words, '', { program: 'ipvs adm' })
        return stdout + stderr
      }
      for (const step of steps) {
        const printed =
          isPlain(step) && step.command.startsWith('ipvs adm ')
            ? await inThisProcess(step.command.split(' ').slice(2))
            : run(step, folder, installed.env, ['ip', 'netns', 'exec', netns.name])
        expect(printed, `${step.place}: ${step.command}`).toBe(step.output)
      }
    })
  })

  test('saves a table and restores it in another network namespace', async () => {
    await withNamespaces(2, async (one, other) => {
      await one.run(['ipvsadm', '-R'], LINES)
      const saved = join(folder, 'table.json')
      const stored = await sh(
        one,
        `ipvs save ${saved} --sysctls && ipvs restore ${saved} --netns ${other.name}`,
      )
      expect(stored).toMatchObject({ status: 0, stderr: '' })
      const tables = await Promise.all(
        [one, other].map(({ name }) => ipvs(`save --netns ${name}`, { kernel: 'real' })),
      )
      // The order of services is that of a hash, which differs between namespaces.
      const [a, b] = tables.map(
        ({ stdout }) => JSON.parse(stdout) as { services: { realServers?: unknown }[] },
      )
      const servers = (table = a): unknown => table?.services.flatMap(({ realServers }) => realServers ?? [])
      expect(servers(b)).toEqual(servers(a))
      expect(await other.run(['ipvsadm', '-Sn'])).toBe(await one.run(['ipvsadm', '-Sn']))
      const same = await ipvs(['diff', saved, 'live', '--netns', other.name], { kernel: 'real' })
      expect(same).toEqual({ status: 0, stdout: '', stderr: '' })
    })
  })

  test('lists the table of a network namespace, by name or path', async () => {
    await withNamespace(async ({ name, path, ipvs: table }) => {
      await table.addService({ protocol: 'tcp', address: '192.0.2.10', port: 80 })
      for (const netns of [name, path]) {
        const { status, stdout } = await ipvs(['list', '--netns', netns], { kernel: 'real' })
        expect(status).toBe(0)
        expect(stdout).toMatch(/^SERVICE .*\ntcp\/192\.0\.2\.10:80 .*\n$/)
      }
    })
    const { status, stderr } = await ipvs('list --netns ipvs-test-none', { kernel: 'real' })
    expect(status).toBe(4)
    expect(stderr).toContain("there is no network namespace 'ipvs-test-none'")
  })

  test('plans, asks and applies, and a foreign writer is left alone', async () => {
    await withNamespace(async (netns) => {
      await netns.run(['ipvsadm', '-R'], LINES)
      const less = file('less.rules', LESS)
      const args = ['apply', less, '--netns', netns.name]
      const answer = { kernel: 'real', columns: 80, stdin: 'y\n', env: { NO_COLOR: '1' } } as const
      expect(await ipvs(['plan', ...args.slice(1)], { kernel: 'real' })).toMatchObject({ status: 1 })
      expect(await ipvs(args, { kernel: 'real' })).toMatchObject({ status: 3 })

      // While the question stands, the real ipvsadm adds a server.
      const foreign = ['ipvsadm', '-a', '-t', '192.0.2.10:80', '-r', '10.0.0.99', '-m']
      const stale = await ipvs(args, { ...answer, stdin: () => netns.run(foreign).then(() => 'y\n') })
      expect(stale.status).toBe(3)
      expect(stale.stderr).toContain('the table has changed since')
      expect(await netns.run(['ipvsadm', '-Sn'])).toContain('10.0.0.99')

      expect(await ipvs(args, answer)).toMatchObject({ status: 0 })
      const { stdout } = await ipvs(`save --format ipvsadm --no-timeouts --netns ${netns.name}`, {
        kernel: 'real',
      })
      expect(stdout.split('\n').sort()).toEqual(LESS.split('\n').sort())
    })
  })

  test('applies while another program writes to the same table', async () => {
    await withNamespace(async (netns) => {
      await netns.run(['ipvsadm', '-R'], LINES)
      const other = '198.51.100.1:80'
      const writer = netns.start([
        'sh',
        '-c',
        `while ipvsadm -A -t ${other} && ipvsadm -D -t ${other}; do :; done`,
      ])
      for (const weight of [3, 4, 5, 6]) {
        const wanted = file('wanted.rules', LINES.replace('-w 2', `-w ${String(weight)}`))
        const args = ['apply', wanted, '--yes', '--scope', '192.0.2.10,fwmark/5', '--netns', netns.name]
        expect(await ipvs(args, { kernel: 'real' })).toMatchObject({ status: 0, stderr: '' })
        expect(await netns.run(['ipvsadm', '-Sn'])).toContain(`-r 10.0.0.8:80 -m -w ${String(weight)}\n`)
      }
      expect(writer.exitCode).toBeNull()
    })
  })

  test('drains a server with a live connection; Ctrl-C restores the weight', async () => {
    await withNetwork(async ({ client, director, host }) => {
      const key = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const
      const server = { address: REAL.ipv4, port: 8080 }
      const web = await director.ipvs.addService(key)
      await web.addRealServer({ ...server, method: 'masquerade', weight: 7 })
      await startEcho(host, 'tcp', server.port)
      const connection = await Connection.open(client, VIRTUAL.ipv4, 80)
      const weight = async (): Promise<number> => (await director.ipvs.realServer(key, server)).weight
      const drain = (): ReturnType<Netns['start']> =>
        director.start([
          ...['env', `PATH=${installed.env.PATH ?? ''}`],
          ...['ipvs', 'drain', `tcp/${VIRTUAL.ipv4}:80`, `${REAL.ipv4}:8080`],
          ...['--wait-for', 'active', '--interval', '0.05', '--force'],
        ])

      const first = drain()
      await until('the server is quiescent', async () => (await weight()) === 0)
      process.kill(-(first.pid ?? 0), 'SIGINT')
      await until('the drain has ended', () => first.exitCode !== null)
      expect([first.exitCode, await weight()]).toEqual([130, 7])

      const second = drain()
      let said = ''
      second.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
      await until('the server is quiescent', async () => (await weight()) === 0)
      await connection.echo('still there')
      expect(second.exitCode).toBeNull()
      await connection.close()
      await until('the drain has ended', () => second.exitCode !== null)
      expect([second.exitCode, said]).toEqual([0, `tcp/${VIRTUAL.ipv4}:80 -> ${REAL.ipv4}:8080: deleted\n`])
      expect(await web.realServers()).toEqual([])
    })
  })

  test('says what is missing without permission', async () => {
    const line = 'setpriv --inh-caps=-all --bounding-set=-all ipvs'
    await withNamespace(async (netns) => {
      for (const args of ['list', 'save', `apply ${file('less.rules', LESS)}`]) {
        const { status, stdout, stderr } = await sh(netns, `${line} ${args}`)
        expect({ status, stdout }).toEqual({ status: 5, stdout: '' })
        expect(stderr).toMatch(/^ipvs: EPERM: .*CAP_NET_ADMIN/)
      }
      const { status, stderr } = await tryCommand([
        'env',
        `PATH=${installed.env.PATH ?? ''}`,
        'sh',
        '-c',
        `${line} list --netns ${netns.name}`,
      ])
      expect(status).toBe(5)
      expect(stderr).toMatch(/^ipvs: EPERM: .*CAP_SYS_ADMIN/)
      // No privilege is needed where no kernel is.
      const memory = await sh(netns, `cd ${folder} && ${line} save --memory table.json`)
      expect(memory.status).toBe(0)
    })
  })

  test('completes services and servers of the real table', async () => {
    await withNamespace(async (netns) => {
      await netns.run(['ipvsadm', '-R'], LINES)
      const { stdout } = await sh(
        netns,
        'ipvs __complete -- drain tcp/192.0.2.10:80 ""; ipvs __complete -- show f',
      )
      expect(stdout).toBe('10.0.0.7:80\tweight 1\n10.0.0.8:80\tweight 2\nfwmark/5\tsh\n')
    })
  })
})
