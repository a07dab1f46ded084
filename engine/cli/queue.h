#pragma once
/* The commands below `eilpost queue`. */

int command_queue_list(int argc, char **argv);
int command_queue_show(int argc, char **argv);
int command_queue_explain(int argc, char **argv);
int command_queue_suspend(int argc, char **argv);
int command_queue_resume(int argc, char **argv);
int command_queue_cancel(int argc, char **argv);
int command_queue_purge(int argc, char **argv);
int command_queue_restore(int argc, char **argv);
int command_queue_retry(int argc, char **argv);
int command_queue_move(int argc, char **argv);
int command_queue_orders(int argc, char **argv);
int command_queue_log(int argc, char **argv);
int command_queue_finish(int argc, char **argv);
