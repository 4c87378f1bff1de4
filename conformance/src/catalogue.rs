//! The list of cases: which promises each pins, and in which ways of driving a loop it makes sense.
//!
//! `all` cases run in every way, `driven` ones own and attached, the others in one way only.
//! `isolated` cases get a process of their own. The cases of the theme `reactor` are for anything
//! that implements [`Reactor`](ioloop::Reactor), and run for `IOLoop` in every way too.

use super::runner::{Case, Subject};

macro_rules! catalogue {
    ($dollar:tt $($theme:ident {
        $($ways:ident $(($isolated:ident))? $case:ident $($promise:literal)+;)*
    })*) => {
        /// Every case of the suite.
        pub const CASES: &[Case] = &[$($(Case {
            name: stringify!($case),
            theme: stringify!($theme),
            promises: &[$($promise),+],
            isolated: false $(|| stringify!($isolated).len() > 0)?,
            subject: Subject::Loop(super::$theme::$case),
        },)*)*];

        #[doc(hidden)]
        #[macro_export]
        macro_rules! __conformance_cases {
            ($dollar own:tt $dollar attached:tt $dollar embedded:tt) => {
                $($($crate::__conformance_case! {
                    $ways $case $dollar own $dollar attached $dollar embedded
                })*)*
            };
        }
    };
}

catalogue! { $
    emptiness {
        all a_run_goes_on_until_nothing_is_left 312;
        all a_detached_job_keeps_a_run_that_ends_when_nothing_is_left 312;
        all what_comes_from_outside_alone_keeps_no_run 313;
        all what_may_be_called_again_is_left_and_nothing_else 312;
        all a_callback_that_was_cancelled_was_left_until_its_turn 312;
        all what_is_called_from_outside_found_itself_left 313;
        driven a_stop_ends_a_run_that_has_something_left 314;
        driven a_stop_at_once_left_an_entry_of_the_run_behind 314;
        driven a_run_that_ends_by_itself_can_be_neither_nested_nor_kept 314;
        attached what_is_taken_away_beside_a_sleeping_run_ends_it 315;
    }

    handlers {
        all a_handler_is_told_what_came 145 148 178;
        all a_handler_gets_only_what_it_asked_for 149;
        all a_second_handler_is_refused_and_the_first_stays 154 155;
        all a_failed_add_leaves_no_trace 156 176;
        all a_handler_gets_the_very_source 157;
        all changing_the_interest_pauses_and_resumes 164 166;
        all changing_the_interest_of_an_unknown_descriptor_is_an_error 165;
        all a_panicking_handler_is_removed 168;
        all a_peers_end_is_told_with_its_data_unread 272;
        all a_peers_end_is_not_told_to_those_who_did_not_ask 272;
        all errors_are_told_to_one_who_waits_for_nothing_else 273;
        all urgent_data_is_told_to_those_who_asked 273;
    }

    hooks {
        all hooks_are_called_at_each_poll_of_a_busy_loop 269;
        all each_round_of_hooks_is_ended_before_anything_else_runs 299;
        attached a_run_that_is_dropped_asleep_ends_its_round_of_hooks 299;
        embedded a_loop_that_is_given_up_between_two_turns_ends_its_round_of_hooks 299;
        all a_hook_around_a_sleep_brackets_it_or_is_refused 299;
        all a_pair_of_hooks_is_called_from_its_first_whole_round_on 299;
    }

    life_cycle {
        all start_runs_queued_callbacks_until_stop 1 2;
        all what_the_stopping_callback_queues_runs_next_time 3;
        all a_stop_now_leaves_the_rest_of_its_turn_to_the_next_run 301;
        all a_stop_now_before_the_run_lets_nothing_run 301;
        all a_stop_before_the_run_makes_it_one_turn_without_waiting 4 5 6;
        all a_stop_with_nothing_to_do_does_not_block 4 6;
        all two_stops_count_as_one 7;
        all runs_can_be_repeated 11;
        all an_event_of_the_stopping_turn_is_delivered_once 37;
        all a_stop_from_another_thread_ends_a_sleep 35;
        all a_nested_run_is_refused_and_changes_nothing 8 10;
        all a_close_while_running_is_refused_and_changes_nothing 14 15;
        all a_refused_close_leaves_everything_in_place 14 15;
        attached a_loop_whose_run_is_held_refuses_close 14 15;
        all another_loops_callback_may_not_wait_for_this_one 9 10;
        own starting_another_loop_in_a_callback_is_refused 9 10;
        all a_loop_is_driven_in_its_own_way_only 10;
        all a_closed_loop_cannot_run 13;
        all closing_twice_is_closing_once 16;
        all close_drops_everything_once_and_runs_nothing 17 18;
        all dropping_the_last_clone_closes 17 18 28;
        all a_destructor_in_close_may_use_the_loop 16 18 19 20 23 84;
        all after_close_scheduling_is_refused_at_once 19;
        all after_close_watching_is_an_error_that_gives_the_source_up 19 22 23;
        all close_releases_the_sources_and_no_others 24 25;
        all after_close_posting_answers_closed 20;
        all a_thousand_posts_racing_with_close_are_accepted_or_closed 21;
        all eight_threads_may_race_with_close 20 21 262;
        all work_accepted_before_close_is_answered 262;
        all panics_in_destructors_are_reported_once_and_the_rest_goes_on 18 64;
        all a_panic_ends_what_panicked_and_no_more 64 65 66 168;
        all (isolated) close_releases_the_descriptors 27;
        all (isolated) ten_loops_leave_nothing_behind 28;
        all (isolated) a_loop_starts_no_thread 265;
        all loops_on_several_threads_do_not_race 30;
        attached several_loops_share_a_host 31;
        attached closing_leaves_the_host_usable 32;
    }
    weak {
        all a_link_to_a_loop_that_has_gone_is_a_closed_reactor 19 22 23 274;
        own a_link_goes_by_the_clock_of_its_loop 274;
        all (isolated) a_loop_dropped_with_everything_pending_releases_its_descriptors 28 275;
        all a_shutdown_under_way_keeps_no_loop 275;
    }
    callbacks {
        all callbacks_run_in_the_order_queued 55;
        all posts_from_the_loops_own_thread_and_call_soon_share_one_queue 56;
        all nothing_is_called_inside_the_call_that_asks_for_it 57;
        all what_callbacks_queue_waits_for_the_next_turn 58;
        all an_endless_chain_of_callbacks_does_not_starve_descriptors 59;
        all a_crowd_of_endless_chains_does_not_starve_descriptors 59;
        all slow_callbacks_keep_a_descriptor_waiting_for_two_turns_at_most 297;
        all callbacks_that_become_slow_keep_a_descriptor_waiting_for_sixteen_at_most 297;
        all an_endless_chain_of_callbacks_does_not_starve_timers 60;
        all an_endless_chain_of_callbacks_does_not_starve_stop 60;
        all an_endless_chain_of_callbacks_does_not_starve_a_stop_from_another_thread 60;
        all endless_chains_of_callbacks_timers_and_events_share_the_turns 59 60 119;
        attached a_host_task_alternates_with_a_chain_of_callbacks 239;
        all a_post_from_inside_runs_in_the_next_turn 61;
        all a_post_from_another_thread_wakes_a_sleeping_loop 62;
        all thousands_of_posts_among_timers_all_run 63;
        all a_callback_that_panics_is_reported_once_and_the_next_one_runs 64;
        all a_destructor_that_panics_is_reported_once_and_the_rest_goes_on 64;
        all the_exception_handler_gets_the_payload_and_a_description 69;
        all without_its_exception_handler_the_loop_does_as_by_default 70;
        all (isolated) an_exception_handler_that_panics_is_reported_itself 71;
        all a_cancelled_callback_does_not_run 73;
        all a_callback_that_an_earlier_one_of_its_batch_cancels_does_not_run 74;
        all a_callback_that_has_run_does_not_say_cancelled 75;
        all a_callbacks_handle_may_be_dropped_and_its_guard_cancels 73;
        all cancelling_a_task_is_not_reported 78;
        all captures_are_dropped_as_soon_as_their_callback_has_run 76;
        all captures_are_dropped_at_the_cancel 77;
        all a_destructor_may_ask_its_loop_for_anything 84;
        all a_destructor_may_post_while_the_last_reference_to_the_loop_goes 84;
        all whatever_points_to_a_reactor_is_one 123;
    }
    runtime_tasks {
        all a_task_that_any_thread_spawns_is_polled_on_the_loops_thread 287;
        all what_a_callback_spawns_is_polled_in_the_same_run 287;
        all a_task_may_ask_the_loop_that_polls_it_for_anything 287;
        all a_wake_of_a_task_from_another_thread_wakes_a_sleeping_loop 288;
        all tasks_wait_while_nobody_drives_the_loop_and_none_is_lost 289;
        all a_flood_of_tasks_and_the_rest_of_the_loop_starve_neither 291;
        all a_panic_of_a_task_leaves_the_loop_and_the_executor_going 292;
        all a_panic_under_a_bridge_is_its_awaiters_or_is_reported_once 292;
        all a_task_under_a_bridge_is_cancelled_from_another_thread 232;
        all closing_a_loop_drops_the_tasks_of_the_executor_that_it_made 293;
    }
    timers {
        all a_timer_fires_once 113;
        all a_timer_never_fires_early 114;
        all no_delay_and_a_past_deadline_fire_in_the_next_turn 115 118;
        all no_delay_means_the_next_turn_of_a_busy_loop_too 60 115;
        all overdue_timers_fire_by_deadline 116;
        all timers_of_equal_deadline_fire_in_the_order_set 117;
        all what_a_timer_sets_for_now_waits_for_the_next_turn 118;
        all an_endless_chain_of_timers_starves_neither_descriptors_nor_stop 119;
        all call_at_fires_once_the_loops_clock_has_reached_the_deadline 120;
        all a_timer_that_panics_is_reported_once_and_the_others_fire 65;
        all every_call_that_schedules_returns_a_usable_handle 123;
        all a_handle_says_the_deadline 133;
        all the_clock_moves_while_a_callback_blocks 134;
        all a_delay_counts_from_the_call 135;
        all the_longest_duration_and_an_absurdly_far_deadline_never_fire 137;
        all a_timer_cancelled_before_its_deadline_does_not_fire 125;
        all cancelling_a_timer_that_fired_or_was_cancelled_is_harmless 126 127;
        all a_timer_may_cancel_or_reset_itself_while_it_fires 128;
        all a_timer_that_an_earlier_one_of_its_batch_cancels_does_not_fire 129;
        all thousands_of_cancelled_timers_are_gone_and_the_live_ones_fire 130 131;
        all a_captured_value_is_dropped_once_its_timer_has_fired 139;
        all a_timers_handle_may_be_dropped_and_its_guard_cancels 140;
        all reset_moves_a_deadline_either_way 113 116;
        all a_timer_reset_by_an_earlier_one_of_its_batch_waits 118;
        all a_timer_that_activity_puts_off_fires_once_it_has_ended 113 114;
        all (isolated) a_cancelled_timer_does_not_end_the_sleep 132;
        all (isolated) a_crowd_whose_earliest_was_cancelled_is_no_reason_to_spin 132 136;
        all (isolated) a_timer_cancelled_while_the_loop_sleeps_does_not_end_its_next_sleep 132;
        all (isolated) small_sleeps_do_not_spin 136;
        all an_earlier_timer_that_is_set_by_a_post_shortens_the_sleep 141;
        attached an_earlier_timer_that_the_host_sets_shortens_the_sleep 141;
        embedded an_earlier_timer_between_turns_makes_the_descriptor_readable 141 257;
        all (isolated) timers_are_not_on_the_wall_clock 142;
        all (isolated) a_storm_of_signals_does_not_end_a_wait 263;
        all (isolated) a_storm_of_signals_neither_shortens_a_sleep_nor_loses_an_event 263;
    }
    executor {
        all a_jobs_value_comes_back_from_a_thread_with_a_name 102 111;
        all two_jobs_that_wait_for_each_other_finish 103;
        all the_panic_of_a_job_comes_out_of_its_task 104;
        all ten_jobs_give_their_values_to_the_right_tasks 105;
        all a_cancelled_job_that_has_begun_runs_to_its_end 106;
        all a_job_that_ends_after_its_loop_was_closed_is_discarded 106 112;
        all an_executor_that_is_set_gets_the_jobs 107;
        all a_job_on_a_closed_loop_is_refused 109;
        all shutting_the_executor_down_waits_for_its_jobs 110;
        all jobs_are_counted_and_the_end_of_the_last_wakes_the_loop 110;
    }
    observing {
        all what_is_slow_is_reported_with_its_duration_and_location 81 82;
        driven a_slow_poll_of_the_main_future_and_a_slow_hook_are_reported 82;
        all a_watch_that_spins_is_reported_and_one_that_gets_on_is_not 146;
        all a_panic_is_reported_with_its_place_and_the_name_of_the_loop 64 65 66 69;
        all a_loop_that_is_dropped_with_work_and_was_never_driven_says_so_once 285;
        all a_task_that_is_awaited_on_a_loop_that_nobody_drives_says_so_once 285;
        all the_error_of_a_logged_task_is_reported_as_its_panic_is 68 69;
        all a_panic_that_nobody_takes_is_reported_when_its_task_is_dropped 68 69;
        all the_exception_handler_finds_the_loop_current_wherever_the_panic_was 282;
        all the_debug_form_of_a_handle_says_where_it_was_made_and_whether_it_is_cancelled 83;
        all the_listing_names_everything_the_loop_waits_for 83;
    }
    watchdog {
        all code_that_hangs_is_named_while_it_does 311;
        driven a_main_future_that_hangs_is_named 311;
        all a_watch_that_hangs_is_named_with_its_descriptor_and_whether_it_blocks 311;
        all a_destructor_that_hangs_is_named_by_the_code_that_runs_it 311;
        all a_callback_that_drives_another_loop_is_named_for_both 311;
        all a_call_inside_of_a_call_took_its_time_away 311;
        all a_limit_that_was_set_again_kept_a_call_from_being_told 311;
        all a_watchdog_begins_with_the_next_call_and_its_handler_may_panic_and_change 311;
        all a_closed_loop_has_no_watchdog_and_drops_its_handler 311;
    }

    current {
        all current_is_the_loop_whose_code_runs 39 41 194;
        all making_a_loop_does_not_make_it_current 40;
        all a_run_restores_what_was_current 41;
        driven a_panic_of_the_future_restores_what_was_current 42;
        all enter_in_a_callback_does_not_lose_the_outer_loop 39 43;
        all enter_gives_the_innermost_and_restores_the_one_before 39 44;
        all there_is_no_current_loop_but_here 45;
        all (isolated) an_installed_handle_is_not_a_current_loop 45;
        attached current_is_found_under_the_hosts_own_run_call 53;
        all (isolated) one_handle_is_installed_for_every_thread 46 47 48;
        all (isolated) of_many_that_install_at_once_one_wins 46 47;
        own (isolated) the_default_backend_can_be_configured 49 50;
        all (isolated) a_backend_that_is_given_wins_over_the_configured_one 50;
    }
    running {
        all a_run_gives_the_futures_value 190 191;
        driven the_future_may_borrow_and_is_dropped_before_the_run_returns 190;
        all the_loop_is_current_and_running_while_it_runs_for_a_future 194;
        all a_loop_can_run_for_one_future_after_the_other 202;
        all tasks_timers_calls_and_callbacks_nest 204;
        driven a_stop_ends_a_run_for_a_future_with_an_error_of_its_own 199;
        driven a_future_that_is_done_wins_over_a_stop 199 200;
        driven a_panic_comes_out_of_the_run_and_leaves_the_loop_usable 36 200;
        driven a_run_in_a_callback_is_refused_without_a_trace 201;
        own a_time_out_drops_the_future_and_leaves_nothing 195 196 198;
        own a_future_done_in_the_first_turn_wins_over_a_time_out_of_zero 197 198;
        own nothing_of_a_time_out_is_left_after_success 198;
        attached a_run_dropped_half_way_loses_nothing 254;
        attached a_sleeping_run_that_is_dropped_can_be_followed_by_another 254;
        attached a_run_that_moves_to_another_waker_is_woken_there 254;
        attached a_descriptor_wakes_a_run_that_moved_to_another_waker 254;
        attached dropping_run_until_drops_its_future 254;
        attached a_second_run_is_refused_and_the_first_goes_on 255;
        all dropping_a_task_or_a_call_lets_it_run_on 256;
        all a_tasks_value_waits_and_is_taken_once 256;
        all a_cancelled_task_is_dropped_in_the_next_turn_and_not_reported 78;
        all a_cancelled_task_is_not_polled_again 78;
        all a_call_that_is_cancelled_before_it_ran_does_not_run 78;
        all the_error_of_a_task_never_reaches_the_spawner 66 68;
        all the_panic_of_a_task_goes_to_whoever_awaits_it 68;
        all a_destructor_that_panics_does_not_take_the_tasks_value_along 66;
    }
    descriptors {
        all a_reader_is_called_when_data_arrives 145;
        all a_reader_that_does_not_drain_is_called_in_each_turn 146;
        all end_of_file_calls_the_reader 147;
        all a_writer_is_called_while_there_is_room_until_it_is_removed 148;
        all one_direction_gets_no_events_of_the_other 149;
        all a_reader_and_a_writer_come_and_go_independently 150;
        all the_reader_comes_before_the_writer_whatever_the_order_of_adding 151;
        all a_hang_up_wakes_the_reader_and_the_writer 178;
        all a_writer_that_waits_for_room_learns_that_the_reading_end_closed 179;
        all two_descriptors_that_are_ready_are_served_in_one_turn 186;
        all a_reader_that_finds_nothing_is_called_again_later 187;
        all a_listener_loses_no_connection_however_many_it_takes_a_call 188;

        all the_callback_gets_the_very_source_that_was_registered 157;
        all as_fd_is_called_once 157;
        all registration_leaves_the_blocking_mode_as_it_is 180;
        all a_descriptor_can_be_watched_by_two_loops 181;
        all a_number_has_one_reader_however_its_descriptor_is_given 154 155;
        all a_watch_is_removed_by_object_or_by_borrowed_descriptor 184;

        all a_panic_ends_its_watch_and_nothing_else 167 168;
        all a_panic_leaves_the_other_direction_and_a_successor 168;
        all a_panicking_destructor_is_reported_once_and_the_rest_goes_on 167;
        all a_panicking_as_fd_registers_nothing 156;
    }
    watches {
        all a_replaced_reader_is_never_called_even_if_its_event_is_pending 152;
        all a_replaced_writer_is_never_called_even_if_its_event_is_pending 153;
        all a_replaced_reader_leaves_the_writer_alone 150 152;
        all the_watch_of_a_replaced_reader_has_ended 152 165;
        all a_watch_that_has_ended_can_be_neither_paused_nor_resumed 165;
        all removing_says_whether_there_was_one 158 159;
        all removing_another_descriptor_suppresses_its_pending_event 160;
        all a_reader_can_suppress_the_writer_of_its_descriptor 161;
        all what_is_added_anew_inside_a_callback_gets_the_next_event 162;
        all removing_and_adding_again_in_one_turn_loses_nothing 182;
        all what_a_callback_adds_is_seen_by_the_next_look 183;
        all a_source_is_released_by_its_removal 170;
        all a_source_stays_open_until_it_is_removed_or_the_loop_closed 185;
        all removal_takes_a_descriptor_out_of_the_kernel_at_once 171 175;

        all a_paused_watch_is_out_of_the_kernel_and_resumes_with_what_is_pending 164;
        all pausing_one_direction_leaves_the_other 164;
        all pausing_suppresses_a_pending_event 164;
        all a_watch_can_be_paused_from_the_start 166;
    }
    closed_descriptors {
        all regular_files_and_directories_are_refused_with_the_reason 156 176;
        all a_descriptor_that_is_not_open_is_refused 156 283;
        all a_number_that_was_refused_can_be_watched_with_another_file 156;
        all a_failed_replacement_leaves_the_old_one 260;
        all a_loop_cannot_wait_for_itself 261;
        all two_loops_cannot_wait_for_each_other 261;

        all a_number_that_is_reused_after_removal_works 172;
        all a_number_that_is_reused_without_removal_serves_its_new_file_alone 173 175;
        all the_other_direction_of_a_reused_number_goes_with_its_file 173;
        all an_orphan_is_noticed_and_the_rest_goes_on 163 174 175;
        all ending_one_direction_of_a_dead_number_ends_the_other 163 174 175;
        all a_number_that_comes_back_to_its_file_heals_the_orphan 163 175;
        all what_died_unnoticed_goes_when_the_kernels_set_is_made_anew 173 175;
        all resuming_finds_out_that_a_number_is_another_files 173;
        all a_handler_of_a_reused_number_is_not_updated 173;
        all (isolated) a_socket_may_be_closed_in_a_call_that_its_watch_is_removed_after 163 174 175;
        all (isolated) a_watch_ends_although_its_descriptor_was_closed_before 163 174 175;
        all (isolated) the_next_file_under_a_closed_number_is_watched_like_any_other 173;
        all (isolated) a_watch_that_cannot_be_resumed_is_removed_and_reported 310;
    }
    embedding {
        embedded whatever_is_queued_between_turns_makes_the_descriptor_readable_at_once 257;
        embedded an_earlier_deadline_makes_the_descriptor_readable_at_once 257;
        embedded a_deadline_makes_the_descriptor_readable_when_it_comes_and_not_before 257 259;
        embedded a_watch_with_pending_data_makes_the_descriptor_readable_at_once 257;
        embedded an_idle_loop_is_not_readable_whatever_it_did_before 259;

        embedded a_turn_says_whether_work_is_left_and_leaves_the_descriptor_readable 258;
        embedded a_timer_that_is_due_after_a_turn_is_work_left 258;
        embedded a_turn_waits_for_the_time_out_and_not_less 259;
        embedded a_turn_ends_its_wait_when_there_is_something_to_do 257;
        embedded a_turn_runs_what_was_there_when_it_began 258;
        embedded a_turn_says_that_the_loop_was_stopped 7 258;
        embedded the_loop_is_current_and_running_in_a_turn 8 14 41;
        embedded next_deadline_is_the_earliest_pending_timers 257;
        embedded the_descriptor_is_shared_and_outlives_the_loop 13 16;

        all a_turn_inside_another_loops_callback_must_not_wait 9 43;
        all a_loop_can_be_embedded_in_another_by_its_descriptor 257 258 259;
        driven a_loop_that_its_host_has_to_drive_refuses_a_turn 9;
    }
    periodic {
        all calls_come_every_period_from_the_start 206 207 222;
        all a_call_that_takes_too_long_skips_the_ones_it_missed 208;
        all jitter_moves_the_calls_within_its_window 210;
        all impossible_periods_and_jitters_are_errors 212 213;
        all plain_callbacks_are_repeated_until_stopped 214 216 222;
        all async_calls_never_overlap 208 215;
        all stopping_twice_is_stopping_once_and_leaves_no_timer 217 222;
        all however_often_it_is_started_its_rate_is_the_same 218 219;
        all a_restart_inside_the_callback_does_not_double_the_rate 216 220;
        all a_restart_while_an_async_call_is_in_flight_does_not_double_the_rate 215 216 220;
        all a_panicking_callback_is_reported_and_called_again 221;
        all a_pending_call_keeps_no_run_from_ending 223;
        all dropping_it_stops_it 225;
        all closing_the_loop_ends_it 17 222;
    }
}

macro_rules! reactor_catalogue {
    ($dollar:tt $($file:ident { $($case:ident $($promise:literal)+;)* })*) => {
        /// The cases for anything that implements [`Reactor`](ioloop::Reactor).
        pub const REACTOR_CASES: &[Case] = &[$($(Case {
            name: stringify!($case),
            theme: "reactor",
            promises: &[$($promise),+],
            isolated: false,
            subject: Subject::Reactor(super::reactor::$file::$case),
        },)*)*];

        #[doc(hidden)]
        #[macro_export]
        macro_rules! __conformance_reactor_cases {
            ($dollar rigs:tt) => {
                $($($crate::__conformance_reactor_case! { $case $dollar rigs })*)*
            };
        }
    };
}

reactor_catalogue! { $
    descriptors {
        a_reader_is_called_until_it_has_read_everything 57 145 146;
        an_end_of_file_calls_the_reader 147;
        a_writer_is_called_again_until_it_is_removed 148;
        a_reader_is_not_called_for_a_writable_descriptor 149;
        reader_and_writer_of_one_descriptor_are_independent 150 151;
        adding_again_replaces_and_the_old_one_is_never_called 152 153;
        removing_says_whether_there_was_one 158 159;
        what_a_callback_removed_is_not_called_in_the_same_batch 160 161;
        what_a_callback_paused_is_not_called_in_the_same_batch 164;
        removed_and_added_again_in_a_callback_only_the_new_one_is_called 162;
        a_paused_watch_is_silent_and_resumes_with_what_is_pending 164;
        a_source_lives_as_long_as_its_watch 170 185;
        a_watch_that_removes_itself_is_dropped_when_its_callback_returns 170 171;
        a_hang_up_wakes_reader_and_writer 178 179;
        a_panicking_reader_is_removed_and_the_others_are_served 167 168;
        the_very_source_comes_back_and_as_fd_is_called_once 157;
        watching_leaves_the_blocking_mode_as_it_is 180;
        regular_files_and_directories_are_refused_and_given_up 156 176;
        a_descriptor_that_is_not_open_is_refused 156;
        a_number_that_is_reused_after_removal_works 172;
    }
    handlers {
        a_handler_is_told_what_came_of_what_it_asks_for 305;
        a_handler_never_takes_the_place_of_another_watch 305;
    }
    callbacks {
        callbacks_run_in_order_and_never_inside_the_call 55 57;
        what_callbacks_queue_waits_for_the_next_turn 58;
        a_cancelled_callback_does_not_run_and_is_dropped_at_once 73 75 77;
        a_callback_cancelled_in_the_same_batch_does_not_run 74;
        what_a_callback_captured_is_dropped_when_it_has_run 76;
        a_panicking_callback_or_timer_does_not_stop_the_next 64 65;
        a_destructor_may_ask_the_reactor_for_anything 84;
    }
    timers {
        timers_fire_once_by_deadline_and_never_early 113 114 116 120 133;
        equal_deadlines_fire_in_order_of_insertion 117;
        a_zero_delay_fires_later_not_inside_the_call 115 118;
        a_cancelled_timer_does_not_fire_and_is_dropped_at_once 77 125 126 127;
        a_timer_cancelled_by_one_of_the_same_batch_does_not_fire 129;
        a_timer_that_was_reset_fires_at_its_new_deadline 120 133;
        a_timer_that_is_reset_goes_behind_those_of_its_deadline 117;
        the_handle_of_what_is_over_names_nobody 126;
        the_longest_delay_never_fires 137;
        a_delay_counts_from_its_call 134 135;
        dropping_a_handle_changes_nothing_and_a_guard_cancels 140;
        a_timer_is_set_again_by_its_callback_and_after_it 308;
        a_timer_that_was_moved_or_stopped_forgets_its_deadline 308;
        a_timer_that_panics_or_drops_itself_leaves_the_rest 308;
        a_timer_says_that_its_reactor_was_closed 308;
        a_deadline_may_be_told_by_the_wall_clock 309;
    }
    posts {
        a_post_from_another_thread_wakes_a_sleeping_loop 62 63;
        a_post_wakes_a_reactor_that_has_nothing_else_to_do 62;
        posts_and_callbacks_of_the_loops_thread_share_one_queue 56;
    }
    hooks {
        a_hook_keeps_the_reactor_awake_and_one_after_follows_each 307;
        what_a_hook_queues_is_run_instead_of_a_sleep 307;
    }
    coroutines {
        a_spawned_future_is_polled_in_later_turns_and_gives_its_value 306;
        a_future_may_wait_for_the_reactor_itself 306;
        a_wake_from_another_thread_ends_the_sleep 306;
        a_future_that_panics_or_is_cancelled_is_dropped_and_its_task_says_so 306;
        a_closed_reactor_drops_its_futures 306;
    }
    triggers {
        many_fires_before_a_trigger_runs_are_one_call 304;
        a_trigger_that_fires_itself_is_called_again 304;
        a_trigger_that_another_thread_fires_ends_the_sleep 304;
        a_trigger_is_dropped_on_its_thread_with_its_last_share 304;
        a_trigger_says_that_its_callback_was_dropped 304;
    }
    fairness {
        an_endless_chain_of_callbacks_does_not_starve_descriptors 59;
        an_endless_chain_of_callbacks_does_not_starve_timers 60;
        an_endless_chain_of_callbacks_does_not_starve_posts 60;
        an_endless_chain_of_timers_starves_neither_descriptors_nor_callbacks 119;
    }
    closing {
        close_drops_everything_once_and_runs_nothing 16 17 18 24 25;
        a_closed_reactor_takes_nothing 19 20 22 23;
        posts_that_race_with_close_are_called_or_dropped 21 262;
    }
}

/// Makes a test of every case that concerns [`Reactor`](ioloop::Reactor), for a reactor from
/// outside.
///
/// ```no_run
/// use std::rc::Rc;
/// use ioloop_conformance::ReactorRig;
/// # #[derive(Clone)] struct MyLoop(ioloop::IOLoop);
/// # impl MyLoop {
/// #     fn new() -> Self { MyLoop(ioloop::IOLoop::new().unwrap()) }
/// #     fn run(&self) { self.0.start().unwrap() }
/// #     fn stop(&self) { self.0.stop() }
/// #     fn close(&self) { self.0.close().unwrap() }
/// #     fn reactor(&self) -> ioloop::IOLoop { self.0.clone() }
/// # }
///
/// fn my_loop() -> ReactorRig {
///     let [run, stop, close] = [(); 3].map({
///         let my_loop = MyLoop::new();
///         move |()| my_loop.clone()
///     });
///     let reactor = Rc::new(run.reactor());
///     ReactorRig::new(reactor, move || run.run(), move || stop.stop(), move || close.close())
/// }
///
/// ioloop_conformance::reactor_suite! {
///     my_loop => my_loop(),
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! reactor_suite {
    ($($(#[$meta:meta])* $rig:ident => $make:expr,)*) => {
        $crate::__conformance_reactor_cases! { { $($(#[$meta])* $rig => $make,)* } }
    };
}

/// Makes a test of every case on every rig that it makes sense on; see [the crate](crate).
#[macro_export]
macro_rules! suite {
    (
        own { $($(#[$own_meta:meta])* $own:ident => $own_rig:expr,)* }
        attached { $($(#[$attached_meta:meta])* $attached:ident => $attached_rig:expr,)* }
        embedded { $($(#[$embedded_meta:meta])* $embedded:ident => $embedded_rig:expr,)* }
    ) => {
        $crate::__conformance_cases! {
            { $($(#[$own_meta])* $own => $own_rig,)* }
            { $($(#[$attached_meta])* $attached => $attached_rig,)* }
            { $($(#[$embedded_meta])* $embedded => $embedded_rig,)* }
        }
        mod reactor {
            #[allow(unused_imports)]
            use super::*;

            $crate::__conformance_reactor_cases! { {
                $($(#[$own_meta])* $own => $own_rig,)*
                $($(#[$attached_meta])* $attached => $attached_rig,)*
                $($(#[$embedded_meta])* $embedded => $embedded_rig,)*
            } }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_case {
    (all $case:ident { $($own:tt)* } { $($attached:tt)* } { $($embedded:tt)* }) => {
        $crate::__conformance_tests! { run $case $($own)* $($attached)* $($embedded)* }
    };
    (driven $case:ident { $($own:tt)* } { $($attached:tt)* } $embedded:tt) => {
        $crate::__conformance_tests! { run $case $($own)* $($attached)* }
    };
    (own $case:ident { $($own:tt)* } $attached:tt $embedded:tt) => {
        $crate::__conformance_tests! { run $case $($own)* }
    };
    (attached $case:ident $own:tt { $($attached:tt)* } $embedded:tt) => {
        $crate::__conformance_tests! { run $case $($attached)* }
    };
    (embedded $case:ident $own:tt $attached:tt { $($embedded:tt)* }) => {
        $crate::__conformance_tests! { run $case $($embedded)* }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_reactor_case {
    ($case:ident { $($rigs:tt)* }) => {
        $crate::__conformance_tests! { run_reactor $case $($rigs)* }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($run:ident $case:ident $($(#[$meta:meta])* $rig:ident => $make:expr,)*) => {
        mod $case {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[test]
                $(#[$meta])*
                fn $rig() {
                    let test = concat!(module_path!(), "::", stringify!($rig));
                    $crate::$run(stringify!($case), test, || $make);
                }
            )*
        }
    };
}
