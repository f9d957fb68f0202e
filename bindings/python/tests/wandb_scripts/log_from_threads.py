"""Several threads log, one after the other."""

import threading

import wandb

run = wandb.init(project="digits")


def work(number):
    run.log({"thread": number, "square": number * number})


for number in range(5):
    thread = threading.Thread(target=work, args=(number,))
    thread.start()
    thread.join()
run.finish()
