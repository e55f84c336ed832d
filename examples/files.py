"""Files both ways: one goes to the node with a job, another comes back.

    python files.py [NODE [OWN_ADDRESS]]
"""
import sys

import dispy


def shout(name, result):
    with open(name) as source, open(result, 'w') as target:
        target.write(source.read().upper())
    return dispy_send_file(result)              # noqa: F821; 0: the client has it


def main(node='127.0.0.1', own='127.0.0.1'):
    cluster = dispy.JobCluster(shout, nodes=[node], host=own)
    with open('letter.txt', 'w') as stream:
        stream.write('hello from the client\n')
    job = cluster.submit('letter.txt', 'answer.txt', dispy_job_depends=['letter.txt'])
    if job() != 0:
        sys.exit('the file did not come back: %s' % job.exception)
    cluster.close()
    with open('answer.txt') as stream:
        print(stream.read().strip())


if __name__ == '__main__':
    main(*sys.argv[1:])
