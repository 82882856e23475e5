import { access, chmod, copyFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { command, kernelTests, type Netns, THROWAWAY, withNamespace } from '../helpers/kernel.ts'
import { installCommand } from '../helpers/installed-command.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'

/**
 * Programs that drive ipvsadm, with ours in its place: at the path where they
 * look for it. So only on a machine that is thrown away afterwards.
 */

const PLACE = '/usr/sbin/ipvsadm'
const REAL = '/usr/sbin/ipvsadm.real'
const LDIRECTORD = process.env.IPVS_GUEST_LDIRECTORD
const INIT_SCRIPT = '/etc/init.d/ipvsadm'
const CONFIG = '/etc/ldirectord-test.cf'

beforeAll(async () => {
  if (!THROWAWAY) return
  await rename(PLACE, REAL)
  await symlink(join(installCommand().folder, 'ipvs.cjs'), PLACE)
})

afterAll(async () => {
  if (!THROWAWAY) return
  await rm(PLACE)
  await rename(REAL, PLACE)
})

/** How long ldirectord may take for one thing: only what hangs takes so long. */
const SLOW_MS = 60_000

/** The table, as the real one sees it. */
function table(netns: Netns): Promise<string> {
  return netns.run([REAL, '-Sn'])
}

kernelTests('programs that drive ipvsadm', () => {
  test.skipIf(!THROWAWAY || LDIRECTORD === undefined)(
    'ldirectord: a server that dies is taken out, and put back when it returns',
    // It starts a process for everything, and in a guest on a busy machine each takes a second.
    { timeout: patient(4 * SLOW_MS) },
    async () => {
      const folder = LDIRECTORD as string
      await copyFile(join(folder, 'usr/sbin/ldirectord'), '/usr/sbin/ldirectord')
      await chmod('/usr/sbin/ldirectord', 0o755)
      const architectures = await readdir(join(folder, 'usr/lib'))
      const modules = ['usr/share/perl5']
      for (const name of architectures) {
        const below = join('usr/lib', name, 'perl5')
        for (const version of await readdir(join(folder, below)).catch(() => []))
          modules.push(join(below, version))
      }
      await writeFile(
        CONFIG,
        `checktimeout=${Math.ceil(patient(5000) / 1000)}
negotiatetimeout=${Math.ceil(patient(5000) / 1000)}
checkinterval=1
quiescent=no
virtual=10.0.0.1:80
	real=127.0.0.1:8081 masq 5
	real=127.0.0.1:8082 masq
	scheduler=wrr
	persistent=60
	protocol=tcp
	checktype=connect
`,
      )
      await withNamespace(async (netns) => {
        const first = netns.start(['socat', 'TCP-LISTEN:8081,fork,reuseaddr', 'PIPE'])
        netns.start(['socat', 'TCP-LISTEN:8082,fork,reuseaddr', 'PIPE'])
        const libraries = `PERL5LIB=${modules.map((name) => join(folder, name)).join(':')}`
        const director = netns.start([
          'env',
          libraries,
          'perl',
          '/usr/sbin/ldirectord',
          '-d',
          CONFIG,
          'start',
        ])
        let said = ''
        for (const stream of [director.stdout, director.stderr]) {
          stream.on('data', (text: Buffer) => (said += text.toString()))
        }
        const service = '-A -t 10.0.0.1:80 -s wrr -p 60\n'
        const dying = '-a -t 10.0.0.1:80 -r 127.0.0.1:8081 -m -w 5\n'
        const staying = '-a -t 10.0.0.1:80 -r 127.0.0.1:8082 -m -w 1\n'
        const becomes = (what: string, text: string): Promise<unknown> =>
          until(
            what,
            async () => {
              if (director.exitCode !== null) throw new Error(`ldirectord ended: ${said}`)
              return (await table(netns)) === text
            },
            SLOW_MS,
          ).catch(async (error: unknown) => {
            throw new Error(`the table is ${await table(netns)}; ldirectord said ${said.slice(-2000)}`, {
              cause: error,
            })
          })
        await becomes('both servers are there', service + dying + staying)
        process.kill(-(first.pid as number), 'SIGKILL')
        await becomes('the dead one is gone', service + staying)
        netns.start(['socat', 'TCP-LISTEN:8081,fork,reuseaddr', 'PIPE'])
        await becomes('it is back', service + dying + staying)
        process.kill(-(director.pid as number), 'SIGTERM')
        await until(
          'ldirectord has ended',
          () => director.exitCode !== null || director.signalCode !== null,
          SLOW_MS,
        )
        expect(said).not.toMatch(/Usage|Try `|Illegal|illegal|Could not run|No such/)
      })
    },
  )

  test.skipIf(!THROWAWAY)("Debian's init script: save, load, stop and start", async () => {
    await access(INIT_SCRIPT)
    await writeFile('/etc/default/ipvsadm', 'AUTO="true"\nDAEMON="none"\n')
    await withNamespace(async (netns) => {
      const rules = [
        '-A -t 10.0.0.5:80 -s rr',
        '-a -t 10.0.0.5:80 -r 10.1.0.1:8080 -m -w 3',
        '-A -f 7 -s wlc -p 60',
      ]
      const text = `${rules.join('\n')}\n`
      const script = (action: string): Promise<string> => netns.run(['sh', INIT_SCRIPT, action])
      for (const rule of rules) await netns.run([REAL, ...rule.split(' ')])
      await script('save')
      expect(await command(['cat', '/etc/ipvsadm.rules'])).toBe(`# ipvsadm.rules\n${text}`)
      await netns.run([REAL, '-C'])
      await script('load')
      expect(await table(netns)).toBe(text)
      await script('stop')
      expect(await table(netns)).toBe('')
      await script('start')
      expect(await table(netns)).toBe(text)
      expect(await script('status')).toBe(await netns.run([REAL, '-L', '-n']))
      expect(await script('rate')).toBe(await netns.run([REAL, '-L', '--rate', '-n']))
    })
  })
})
