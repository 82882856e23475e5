import { notAvailable } from '../../lib/doctor/findings/access.ts'
import { EXPLANATIONS } from '../../lib/doctor/findings/explanations.ts'
import type { Finding } from '../../lib/doctor/findings/finding.ts'
import { type HostOptions, readHost } from '../../lib/doctor/host.ts'
import { type FakeMachine, leaveMachine, onMachine } from '../helpers/fake-machine.ts'
import { DOCTOR_CASES } from '../doctor/cases.ts'
import { command } from './command.ts'
import { type Case, js, type Room } from './room.ts'

/** A finding as text. */
function said({ code, severity, message, effect, commands, guide }: Finding): string {
  return [`${severity}: ${code}`, message, effect, ...commands, `${guide.sentence} (${guide.page})`].join(
    '\n',
  )
}

/** On a machine that is made by hand. */
function on(machine: FakeMachine, { input, message }: Case, note: string): Case {
  return {
    input: `${input}  # ${note}`,
    async message() {
      onMachine(machine)
      try {
        return await message()
      } finally {
        leaveMachine()
      }
    },
  }
}

/** What could not be read. */
function unreadOn(machine: FakeMachine, input: string, options: HostOptions = {}): Case {
  return on(
    machine,
    {
      input: 'what could not be read',
      message: async () =>
        (await readHost(options)).unread.map(({ what, why }) => `${what}: ${why}`).join('\n'),
    },
    input,
  )
}

/** A sysctl that no machine has, so that nothing can be set. */
const LOUD = { 'net.ipv4.conf.all.arp_announce': '2', 'net.ipv4.conf.all.arp_ignore': '0' }

const OF_A_SERVER = 'doctor --role real-server --service tcp/192.0.2.10:80'

export const doctorRooms: readonly Room[] = [
  {
    title: 'Findings of the doctor',
    about:
      'Below what is wrong with a machine: what is seen, how it looks to a client, and the commands that mend it.',
    cases: [
      ...[{ noFamily: true }, { code: 'EPERM' }].map((error) => ({
        input: JSON.stringify(error),
        message: () =>
          Promise.resolve(
            [notAvailable(error)]
              .flatMap((one) => one ?? [])
              .map(said)
              .join('\n'),
          ),
      })),
      ...DOCTOR_CASES.filter(({ finds }) => finds.length > 0).map(({ input, look, situation }) => ({
        input,
        message: () => Promise.resolve([...look(situation)].map(said).join('\n\n')),
      })),
    ],
  },
  {
    title: 'Explanations of findings',
    about: 'A sentence for each kind of finding.',
    cases: Object.entries(EXPLANATIONS).map(([code, { sentence }]) => ({
      input: code,
      message: () => Promise.resolve(sentence),
    })),
  },
  {
    title: 'Machines that the doctor cannot read',
    about: 'What could not be read, and why.',
    cases: [
      unreadOn({ programs: { ip: 'echo hello' } }, 'ip prints something else'),
      unreadOn({ programs: { ip: 'exit 3' } }, 'ip fails'),
      unreadOn({ programs: { grep: '' } }, 'there are no sysctls'),
      unreadOn({ programs: { nft: 'exec sleep 1000' } }, 'nft hangs', { limitMs: 1000 }),
    ],
  },
  {
    title: 'The doctor in a shell',
    about: 'On a real server.',
    cases: [
      on({}, command(OF_A_SERVER), 'all is well'),
      on({ sysctls: LOUD }, command(OF_A_SERVER), 'it answers ARP'),
      on({}, command(`${OF_A_SERVER} --fix`), 'all is well'),
      on({ sysctls: LOUD }, command(`${OF_A_SERVER} --fix`), 'it answers ARP'),
      on(
        { sysctls: LOUD },
        command(`${OF_A_SERVER} --fix`, { stdin: 'no\n', columns: 100 }),
        'it answers ARP',
      ),
      on(
        { sysctls: LOUD, programs: { env: 'echo "sh: read-only file system" >&2; exit 1' } },
        command(`${OF_A_SERVER} --fix --yes`),
        '/proc/sys is read-only',
      ),
      on(
        { sysctls: LOUD, programs: { env: 'exit 0' } },
        command(`${OF_A_SERVER} --fix --yes`),
        'it answers ARP, whatever is set',
      ),
    ],
  },
  {
    title: 'Misuse of the doctor',
    about: 'Options of `diagnose()`, and of the command.',
    cases: [
      js(`await diagnose({ role: 'router' })`),
      js(`await diagnose({ services: ['web'] })`),
      js(`await diagnose({ role: 'real-server', director: 'web' })`),
      js(`await diagnose({ rule: 'director' })`),
      command('doctor --memory table.json'),
      command('doctor', { env: { IPVS_MEMORY: 'table.json' } }),
      command('doctor --role real-server'),
      command(`${OF_A_SERVER} --peer other.json`, { files: { 'other.json': '{"services": []}\n' } }),
      command(`${OF_A_SERVER} web.json`, { files: { 'web.json': '{"services": []}\n' } }),
      command('doctor --director 10.0.0.1'),
      command(`${OF_A_SERVER} --tunnel gre`),
      command(`${OF_A_SERVER} --method local`),
    ],
  },
]
