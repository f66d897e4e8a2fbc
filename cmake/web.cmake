# The dashboard: what is in web/, joined with uPlot into one page and that into a C file (cmake/web_page.py).
#
# uPlot draws its charts and esbuild makes it small; `tools/setup` puts both into INLINE_WEB. Where uPlot is missing
# the build says so, and the page shows its figures as tables. web_link(TARGET) gives a target the page
# (src/serve/web_page.h).
if(DEFINED ENV{INLINE_WEB})
    set(web_default $ENV{INLINE_WEB})
elseif(DEFINED ENV{XDG_CACHE_HOME})
    set(web_default $ENV{XDG_CACHE_HOME}/inline-web)
else()
    set(web_default $ENV{HOME}/.cache/inline-web)
endif()
set(INLINE_WEB ${web_default} CACHE PATH "Where npm installed what web/package.json names")

find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(web_modules ${INLINE_WEB}/node_modules)
set(uplot_files "")
foreach(name uPlot.iife.min.js uPlot.min.css)
    if(EXISTS ${web_modules}/uplot/dist/${name})
        list(APPEND uplot_files ${web_modules}/uplot/dist/${name})
    endif()
endforeach()
if(NOT uplot_files)
    message(STATUS "No uPlot in ${INLINE_WEB}: the dashboard is built without charts, with tables in their place")
endif()

file(GLOB web_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*.html ${CMAKE_SOURCE_DIR}/web/*.css
     ${CMAKE_SOURCE_DIR}/web/*.js)
set(web_page ${CMAKE_BINARY_DIR}/web_page.c)
add_custom_command(
    OUTPUT ${web_page}
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/web_page.py ${CMAKE_SOURCE_DIR}/web ${web_modules}
            ${web_page}
    DEPENDS ${CMAKE_CURRENT_LIST_DIR}/web_page.py ${web_files} ${uplot_files}
    VERBATIM)

function(web_link target)
    target_sources(${target} PRIVATE ${web_page})
endfunction()
