"""The billing timer: statements become final."""

import azure.functions as func

from functions.billing.closing import StatementClosing


def blueprint(closing: StatementClosing) -> func.Blueprint:
    timers = func.Blueprint()

    @timers.function_name("billing_close")
    @timers.timer_trigger(arg_name="timer", schedule="%BILLING_SCHEDULE%")
    async def billing_close(timer: func.TimerRequest) -> None:
        await closing.run()

    return timers
