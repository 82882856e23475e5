import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { run, type Step, stepsOf } from '../docs/console.ts'
import { pages } from '../docs/markdown.ts'
import { installCommand } from '../helpers/installed-command.ts'
import { kernelTests, withNamespaces } from '../helpers/kernel.ts'
import { Connection, startEcho } from '../helpers/kernel-traffic.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'

/** docs/beside-keepalived.md, with the real keepalived. It writes to /etc and /run, as only the guest's may be written to. */

const LOG = '/run/keepalived.log'

/** What systemctl does with Debian's unit of keepalived: it does not wait for a reload, and it does for a stop. */
const SYSTEMCTL = `#!/bin/bash
pid() { cat /run/keepalived.pid 2>/dev/null; }
start() { keepalived --dont-fork --log-console --log-detail >>${LOG} 2>&1 & }
stop() { kill "$(pid)"; while pid >/dev/null; do sleep 0.05; done; }
case $1 in
  start) start ;;
  stop) stop ;;
  restart) stop; start ;;
  reload) kill -HUP "$(pid)" ;;
esac
`

/** What is printed comes to be so a while after the command that leads to it. */
const LOOKS = /^(ipvsadm -Sn|ip -o )/

kernelTests('docs/beside-keepalived.md', () => {
  const present = process.env.IPVS_GUEST_KEEPALIVED !== undefined
  if (!present) console.warn('SKIPPED: beside keepalived: it takes the option --with keepalived of the guest')

  test.skipIf(!present)(
    'does what it says; connections survive the move to a file',
    { timeout: patient(120_000) },
    async () => {
      const steps = pages().flatMap((page) =>
        page.name === 'docs/beside-keepalived.md' ? stepsOf(page, 'console keepalived') : [],
      )
      const folder = mkdtempSync(join(tmpdir(), 'ipvs-keepalived-'))
      writeFileSync(join(folder, 'systemctl'), SYSTEMCTL, { mode: 0o755 })
      // Ours would come first.
      symlinkSync('/usr/sbin/ipvsadm', join(folder, 'ipvsadm'))
      mkdirSync('/etc/keepalived', { recursive: true })
      writeFileSync(LOG, '')
      const { env } = installCommand()
      const reloads = (): number => readFileSync(LOG, 'utf8').split('Reload complete').length
      await withNamespaces(
        3,
        async (client, director, host) => {
          await director.run(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward'])
          await startEcho(host, 'tcp', 8080)
          const inside = ['ip', 'netns', 'exec', director.name]
          const path = `${folder}${delimiter}${env.PATH ?? ''}`
          const print = (step: Step): string => run(step, folder, { ...env, PATH: path }, inside)
          for (const step of steps) {
            const moves = step.command.includes('while ipvsadm')
            const connection = moves ? await Connection.open(client, '192.0.2.10', 80) : undefined
            const before = reloads()
            let printed = print(step)
            if (LOOKS.test(step.command)) {
              await until(
                'it is as the page says',
                () => (printed = print(step)) === step.output,
                10_000,
              ).catch(() => {
                // The comparison below shows what is different.
              })
            }
            expect(printed, `${step.place}: ${step.command}`).toBe(step.output)
            if (step.command.startsWith('systemctl reload')) {
              await until('keepalived has read its configuration again', () => reloads() > before)
            }
            await connection?.echo('still here')
            await connection?.close()
          }
        },
        {
          setUp: ([, director = '', host = '']) => [
            [
              `link add eth0 type veth peer name eth0 netns ${director}`,
              'link set eth0 up',
              'addr add 198.51.100.2/24 dev eth0',
              'route add default via 198.51.100.1',
            ],
            [
              `link add servers type veth peer name eth0 netns ${host}`,
              'link set eth0 up',
              'link set servers up',
              'addr add 198.51.100.1/24 dev eth0',
              'addr add 192.0.2.10/32 dev lo',
              'addr add 10.0.0.1/24 dev servers',
            ],
            [
              'link set eth0 up',
              'addr add 10.0.0.7/24 dev eth0',
              'addr add 10.0.0.8/24 dev eth0',
              'route add default via 10.0.0.1',
            ],
          ],
        },
      )
    },
  )
})
